"""Says whether a key that signs is strong enough. The messages never quote the key."""

from itertools import pairwise

MIN_LENGTH = 32
#: Of 27 million keys of 32 random hexadecimal digits, one has fewer.
MIN_DIFFERENT = 8
_NEXT = 'must be random, but {}; make one with `python -c "import secrets; print(secrets.token_urlsafe(48))"`'


def weakness(key: str) -> str | None:
    """The rule that the key breaks, if any."""
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
    """The length of the part that the whole key repeats at least twice."""
    return next((size for size in range(1, len(key) // 2 + 1) if key[size:] == key[:-size]), None)


def _rises(key: str) -> bool:
    steps = [abs(ord(after) - ord(before)) for before, after in pairwise(key)]
    return sum(step <= 1 for step in steps) > len(steps) * 3 / 4
