"""The version of this code. Images hold no installed package that could be asked for it."""

#: As in pyproject.toml; a test compares them.
RELEASE = "0.2.0"
