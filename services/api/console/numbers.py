"""Reads whole numbers from query parameters and form fields."""

from typing import Final

#: Number of digits of the largest bigint.
MAX_DIGITS: Final = 19


def read(text: str) -> int | None:
    """Read a number without a sign and with at most `MAX_DIGITS` digits. Returns None for any other
    text.
    """
    is_number = text.isascii() and text.isdecimal() and len(text) <= MAX_DIGITS
    return int(text) if is_number else None
