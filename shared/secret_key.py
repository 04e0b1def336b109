"""Checks whether the key that signs access tokens is strong enough. Error messages never quote the
key.
"""

from itertools import pairwise

MIN_LENGTH = 32
#: Minimum number of different characters in a key. A random key passes: of 27 million random keys
#: with 32 hexadecimal digits, one has fewer.
MIN_DIFFERENT = 8
_NEXT = 'must be random, but {}; make one with `python -c "import secrets; print(secrets.token_urlsafe(48))"`'


def weakness(key: str) -> str | None:
    """The rule that the signing key breaks, or None if it is strong enough."""
    if len(key) < MIN_LENGTH:
        return f"must have at least {MIN_LENGTH} characters, but has {len(key)}"
    if (different := len(set(key))) < MIN_DIFFERENT:
        return _NEXT.format(f"has only {different} different characters")
    if period := _period(key):
        return _NEXT.format(f"repeats itself after {period} characters")
    if _rises(key):
        return _NEXT.format("most of its characters follow each other, as in abcd or 4321")
    return None


def _period(key: str) -> int | None:
    """If the key is a shorter text repeated at least twice, the length of that text; otherwise
    None.
    """
    return next((size for size in range(1, len(key) // 2 + 1) if key[size:] == key[:-size]), None)


def _rises(key: str) -> bool:
    steps = [abs(ord(after) - ord(before)) for before, after in pairwise(key)]
    return sum(step <= 1 for step in steps) > len(steps) * 3 / 4
