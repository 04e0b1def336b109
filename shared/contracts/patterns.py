"""Regular expressions for whole strings that mean the same in Python and in JSON schemas."""

#: Regular expression that matches the end of a string. In Python, `$` alone also matches before a
#: final line feed. `\Z` cannot be used, because in JavaScript it matches the letter Z.
END = r"$(?!\n)"


def whole(pattern: str) -> str:
    """Return a regular expression that must match a string from its beginning to its end."""
    return f"^(?:{pattern}){END}" if "|" in pattern else f"^{pattern}{END}"
