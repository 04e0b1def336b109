"""Encodes the position at which a page of a list ends as a cursor. The caller sends the cursor back
without interpreting it.
"""

import base64
import binascii
from collections.abc import Collection, Iterable

from shared.errors import FieldProblem, InvalidFields


def encode(position: bytes) -> str:
    return base64.urlsafe_b64encode(position).rstrip(b"=").decode()


def decode(cursor: str, size: int) -> bytes:
    """Decode a cursor whose position has exactly `size` bytes. Raises InvalidFields."""
    position = decode_any(cursor)
    if len(position) != size:
        raise bad_cursor()
    return position


def encode_number(number: int, size: int) -> str:
    return encode(number.to_bytes(size, signed=True))


def decode_number(cursor: str, size: int) -> int:
    """Decode a cursor whose position is a number. It fits into the integer type of Postgres that has
    `size` bytes, even if the cursor is forged. Raises InvalidFields.
    """
    return int.from_bytes(decode(cursor, size), signed=True)


def decode_any(cursor: str) -> bytes:
    """Decode a cursor whose position may have any size. Raises InvalidFields."""
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        raise bad_cursor() from None


def bad_cursor() -> InvalidFields:
    return InvalidFields([FieldProblem("cursor", "must be the next_cursor of an earlier answer")])


def refuse_unknown(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse query parameters that the route would ignore. Raises InvalidFields."""
    rule = f"must be one of {', '.join(known)}"
    unknown = [FieldProblem(name, rule) for name in given if name not in known]
    if unknown:
        raise InvalidFields(unknown)
