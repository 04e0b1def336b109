"""Cursors of pages: where the last page ended, opaque to the caller."""

import base64
import binascii
from collections.abc import Collection, Iterable

from shared.errors import FieldProblem, InvalidFields


def encode(position: bytes) -> str:
    return base64.urlsafe_b64encode(position).rstrip(b"=").decode()


def decode(cursor: str, size: int) -> bytes:
    """The position of `size` bytes. Raises InvalidFields."""
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        position = b""
    if len(position) != size:
        raise InvalidFields([FieldProblem("cursor", "must be the next_cursor of an earlier answer")])
    return position


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse query parameters that would be ignored. Raises InvalidFields."""
    rule = f"must be one of {', '.join(known)}"
    unknown = [FieldProblem(name, rule) for name in given if name not in known]
    if unknown:
        raise InvalidFields(unknown)
