"""Reads the body of a provider's answer, and no more of it than a limit allows.

httpx decodes a whole piece at once: 64 KB of gzip become 64 MB. So the pieces are read as they were sent
and decoded here, with a bound for each step.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

import httpx

#: The largest answers that are known, TravClan's pages of hotels, have about 1 MB.
MAX_BYTES = 8 * 1024 * 1024
#: Enough for the reason of a refusal.
MAX_REASON_BYTES = 16 * 1024
#: How long the reason of a refusal is waited for, after its status.
REASON_WAIT_S = 1.0
#: The only encoding that is asked for; any other is refused.
ACCEPTED = "gzip"
#: Headers that describe the body as it was sent, not as it is decoded.
OF_THE_WIRE = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class BadBody(Exception):
    """It is larger than the limit, in an encoding that was not asked for, or not in the one it names."""


async def whole(response: httpx.Response, deadline: float) -> bytes:
    """The decoded body; `deadline` is a time of the event loop.

    Raises BadBody, TimeoutError and httpx's errors.
    """
    async with asyncio.timeout_at(deadline):
        return b"".join([piece async for piece in _pieces(response, MAX_BYTES)])


async def beginning(response: httpx.Response, deadline: float) -> bytes:
    """What arrives within REASON_WAIT_S and before the deadline, up to MAX_REASON_BYTES.

    For answers whose status says everything: an unreadable or endless body changes nothing.
    """
    read = bytearray()
    with contextlib.suppress(BadBody, TimeoutError, httpx.HTTPError):
        async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + REASON_WAIT_S)):
            async for piece in _pieces(response, MAX_REASON_BYTES):
                read += piece
    return bytes(read)


def as_read(response: httpx.Response, body: bytes) -> httpx.Response:
    """The answer with its decoded body."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in OF_THE_WIRE]
    return httpx.Response(response.status_code, headers=headers, content=body, request=response.request)


async def _pieces(response: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    decoder = _Decoder(response.headers.get("content-encoding", ""), max_bytes)
    assert isinstance(response.stream, httpx.AsyncByteStream)  # as every answer of an AsyncClient
    async for sent in response.stream:
        yield decoder.decoded(sent)


class _Decoder:
    """Turns pieces as they were sent into pieces of the body; counts both."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", ACCEPTED):
            raise BadBody(f"an answer in the encoding {name[:40]!r}, which was not asked for")
        self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if name == ACCEPTED else None
        self._max_bytes = max_bytes
        self._sent = self._decoded = 0

    def decoded(self, sent: bytes) -> bytes:
        """Raises BadBody."""
        self._sent += len(sent)
        piece = self._unpacked(sent)
        self._decoded += len(piece)
        if max(self._sent, self._decoded) > self._max_bytes:
            raise BadBody(f"more than {self._max_bytes} bytes, the limit of one answer")
        return piece

    def _unpacked(self, sent: bytes) -> bytes:
        if self._gzip is None:
            return sent
        try:
            # One byte more than fits shows that the limit is exceeded.
            return self._gzip.decompress(sent, self._max_bytes - self._decoded + 1)
        except zlib.error:
            raise BadBody("an answer that is not gzip, though it says so") from None
