"""The release of this code. It is a constant, because container images contain no installed package
whose metadata would name the version.
"""

#: The release; the version in pyproject.toml must be the same. A test compares the two.
RELEASE = "0.2.0"
