"""Encodes header fields that carry text of users, by RFC 2047.

Python's own folding writes the ASCII words of an encoded name without quotes, so that `Jörg <a@b>, x` names
another recipient. What is encoded here reaches the wire as it is.
"""

from email.header import Header
from email.policy import Policy
from email.utils import formataddr
from typing import Self

#: RFC 2047, section 2.
MAX_ENCODED_WORD = 75
#: Joiners that Persian, Hindi and others write words with; Python does not count them as printable.
_JOINERS = "\u200c\u200d"


class WrittenHeader(str):
    """A header field in its final form; `email` stores and writes it as it is."""

    __slots__ = ("name",)
    name: str

    def __new__(cls, name: str, value: str) -> Self:
        written = super().__new__(cls, value)
        written.name = name
        return written

    def fold(self, *, policy: Policy) -> str:
        """What `email` asks of each header when it writes a message."""
        return f"{self.name}: {policy.linesep.join(self.split(chr(10)))}{policy.linesep}"


def one_line(text: str) -> str:
    """User text for a header: no line breaks, no control characters."""
    return " ".join("".join(c if c.isprintable() or c in _JOINERS else " " for c in text).split())


def mailbox(header: str, name: str, address: str) -> WrittenHeader:
    """One person: the name, which may be anything, and the address."""
    name = one_line(name)
    if _is_plain(name):
        return WrittenHeader(header, formataddr((name, address)))
    return WrittenHeader(header, f"{_encoded(header, name)}\n <{address}>")


def unstructured(header: str, text: str) -> WrittenHeader:
    """Free text, such as a subject."""
    text = one_line(text)
    return WrittenHeader(header, text if _is_plain(text) else _encoded(header, text))


def _is_plain(text: str) -> bool:
    return text.isascii() and "=?" not in text


def _encoded(header: str, text: str) -> str:
    """Encoded words of at most 75 characters, one a line."""
    return Header(text, "utf-8", header_name=header, maxlinelen=MAX_ENCODED_WORD).encode()
