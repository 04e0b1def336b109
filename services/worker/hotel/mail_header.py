"""Encodes mail header fields that contain text from users (RFC 2047).

Python's own encoder writes the ASCII words of an encoded name without quotes. The name `Jörg <a@b>,
x` would then add another recipient. Fields that are encoded here are sent unchanged.
"""

from email.header import Header
from email.policy import Policy
from email.utils import formataddr
from typing import Self

#: Maximum length of an encoded word in characters (RFC 2047, section 2).
MAX_ENCODED_WORD = 75
#: Zero-width joiner and non-joiner. Persian, Hindi and other languages need these characters, but
#: Python does not count them as printable.
_JOINERS = "\u200c\u200d"


class WrittenHeader(str):
    """A header field in its final form. Python's `email` package writes it unchanged."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, value: str) -> Self:
        written = super().__new__(cls, value)
        written.name = name
        return written

    def fold(self, *, policy: Policy) -> str:
        """Return the field as it is. `email` calls this for each header when it serializes a
        message.
        """
        return f"{self.name}: {policy.linesep.join(self.split(chr(10)))}{policy.linesep}"


def one_line(text: str) -> str:
    """Make text from users safe for a header: control characters and line breaks become spaces."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())


def mailbox(header: str, name: str, address: str) -> WrittenHeader:
    """Encode one mailbox: a name, which may be any text, and an address."""
    name = one_line(name)
    if _is_plain(name):
        return WrittenHeader(header, formataddr((name, address)))
    return WrittenHeader(header, f"{_encoded(header, name)}\n <{address}>")


def unstructured(header: str, text: str) -> WrittenHeader:
    """Encode free text, such as a subject."""
    text = one_line(text)
    return WrittenHeader(header, text if _is_plain(text) else _encoded(header, text))


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


def _encoded(header: str, text: str) -> str:
    """Encode text as encoded words of at most 75 characters, one word per line."""
    return Header(text, "utf-8", header_name=header, maxlinelen=MAX_ENCODED_WORD).encode()
