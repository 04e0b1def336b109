"""Limits how many exports one process sends at the same time.

An export is an answer that is read page by page while it is sent.
"""

from collections.abc import AsyncIterator

from services.api.http.refusals import Wait


class TooManyExports(Wait):
    """Raised when this process is sending the maximum number of exports of one kind."""

    kind = "too-many-exports"

    def __init__(self) -> None:
        super().__init__("Too many exports are being sent at this moment.", 10)


class ExportStreams:
    """Counts the exports of one kind that are being sent."""

    def __init__(self) -> None:
        self._running = 0

    async def begin(self, pieces: AsyncIterator[bytes], *, limit: int) -> AsyncIterator[bytes]:
        """Return the pieces of the export, after the first one has been read.

        Raises TooManyExports if `limit` exports are already being sent, and any error that reading
        the first piece raises.
        """
        if self._running >= limit:
            raise TooManyExports
        counted = self._counted(pieces)
        # Reading the first piece starts the generator. A started generator gives its place back
        # even if the client disconnects.
        first = await anext(counted)
        return _chained(first, counted)

    async def _counted(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        self._running += 1
        try:
            async for piece in pieces:
                yield piece
        finally:
            self._running -= 1


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in rest:
        yield piece
