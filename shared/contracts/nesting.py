"""Limits how deeply JSON documents may be nested.

Decoding, comparing and displaying a document are recursive, and Python allows about 1,000 nested
calls. A document close to that limit could be stored by one part of the platform and be unreadable
for another.
"""

from typing import Final

#: Maximum number of nested objects and lists. Documents that people write have fewer than ten
#: levels.
MAX_DEPTH: Final = 100
RULE: Final = f"must be nested at most {MAX_DEPTH} levels deep"

_OPENING: Final = b"[{"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))


def is_too_deep(document: bytes) -> bool:
    """True if a JSON text has more than `MAX_DEPTH` levels.

    A malformed text may pass this check, but decoding refuses it.
    """
    if document.count(b"[") + document.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for bracket in _outside_of_texts(document).translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > MAX_DEPTH:
            return True
    return False


def _outside_of_texts(document: bytes) -> bytes:
    """Remove the strings from a JSON text, because they may contain brackets.

    Escaped quotes are removed first. Each remaining quote then begins or ends a string.
    """
    bare = document.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(bare.split(b'"')[::2])
