"""Decodes messages that processes exchange through Redis. A message may contain anything, because
every Redis client may send one.
"""

from typing import TypeVar

import msgspec

T = TypeVar("T")


def decoded(decoder: "msgspec.msgpack.Decoder[T]", data: bytes) -> T:
    """Decode a message. Raises msgspec.DecodeError for anything that does not fit the decoder's
    type.

    This includes the cases in which msgspec itself raises other errors: for text that is not UTF-8
    and for nesting that is too deep.
    """
    try:
        return decoder.decode(data)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(f"invalid MessagePack: {error}") from error
