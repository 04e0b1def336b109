"""The version of this code. Images hold no installed package that could be asked for it."""

#: The same version as in pyproject.toml; a test compares them.
RELEASE = "0.2.0"
