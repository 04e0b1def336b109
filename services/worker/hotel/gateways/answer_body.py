"""Reads the body of an HTTP response up to a size limit.

httpx decompresses a whole chunk at once, which may turn 64 KB of gzip into 64 MB. The chunks are
therefore read compressed and are decompressed here, with a limit for each step.
"""

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

import httpx

#: Maximum size of a response body. The largest known ones are TravClan's pages of hotels with about
#: 1 MB.
MAX_BYTES = 8 * 1024 * 1024
#: Maximum number of bytes that are read of an error response's body. It is enough to find the
#: reason.
MAX_REASON_BYTES = 16 * 1024
#: Maximum number of seconds to wait for the body of an error response after its status has arrived.
REASON_WAIT_S = 1.0
#: The only content encoding that our requests accept. A response with another encoding is refused.
ACCEPTED = "gzip"
#: Headers that describe the body as it was transmitted. They are dropped once the body is
#: decompressed.
WIRE_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})


class BadBody(Exception):
    """Raised for a response body that cannot be read.

    It exceeds the size limit, or its encoding was not accepted or is not the one in its header.
    """


async def whole(response: httpx.Response, deadline: float) -> bytes:
    """Read and decompress the whole body. `deadline` is a time of the event loop's clock.

    Raises BadBody, TimeoutError and the errors of httpx.
    """
    async with asyncio.timeout_at(deadline):
        return b"".join([piece async for piece in _pieces(response, MAX_BYTES)])


async def beginning(response: httpx.Response, deadline: float) -> bytes:
    """Read only the beginning of the body: what arrives within REASON_WAIT_S and before the
    deadline.

    Use it if the status of a response is enough to decide and the body only explains it. The result
    has at most MAX_REASON_BYTES. An unreadable or endless body causes no error.
    """
    read = bytearray()
    with contextlib.suppress(BadBody, TimeoutError, httpx.HTTPError):
        async with asyncio.timeout_at(min(deadline, asyncio.get_running_loop().time() + REASON_WAIT_S)):
            async for piece in _pieces(response, MAX_REASON_BYTES):
                read += piece
    return bytes(read)


def as_read(response: httpx.Response, body: bytes) -> httpx.Response:
    """Return a response that has the decompressed body instead of the stream."""
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in WIRE_HEADERS]
    return httpx.Response(response.status_code, headers=headers, content=body, request=response.request)


async def _pieces(response: httpx.Response, max_bytes: int) -> AsyncIterator[bytes]:
    decoder = _Decoder(response.headers.get("content-encoding", ""), max_bytes)
    # An AsyncClient always returns async streams
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for sent in response.stream:
        yield decoder.decoded(sent)


class _Decoder:
    """Decompresses the chunks of a body, and counts the bytes before and after."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        name = encoding.strip().lower()
        if name not in ("", "identity", ACCEPTED):
            raise BadBody(f"the answer has the encoding {name[:40]!r}, but only gzip was offered")
        self._gzip = zlib.decompressobj(16 + zlib.MAX_WBITS) if name == ACCEPTED else None
        self._max_bytes = max_bytes
        self._sent = self._decoded = 0

    def decoded(self, sent: bytes) -> bytes:
        """Decompress one chunk. Raises BadBody."""
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
            # Allow one byte more than the limit, because that byte shows that the limit is
            # exceeded.
            return self._gzip.decompress(sent, self._max_bytes - self._decoded + 1)
        except zlib.error:
            raise BadBody("the answer's header says gzip, but its body is not gzip") from None
