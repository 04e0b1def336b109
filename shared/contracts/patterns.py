"""Patterns for whole texts, as Python and the readers of the published schemas understand them."""

#: The end of a text. `$` alone also matches before a final line feed in Python, and `\Z` is the letter Z in
#: JavaScript.
END = r"$(?!\n)"


def whole(pattern: str) -> str:
    """A pattern that a text must match from its beginning to its end."""
    return f"^(?:{pattern}){END}" if "|" in pattern else f"^{pattern}{END}"
