"""A proxy that ends one side of a connection while the other side does not notice (a half-open
connection).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CHUNK = 65_536


class HalfOpen:
    """Forwards connections to a server. Connections whose data contains `mark` can be made
    half-open.
    """

    def __init__(self, url: str, mark: bytes) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._url, self._host, self._port, self._mark = url, parts.hostname, parts.port, mark
        self._links: list[_Link] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Run the proxy inside this context. Yields the URL that leads through the proxy."""
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            yield self._url.replace(f":{self._port}/", f":{port}/")
        finally:
            listening.close()
            for link in self._links:
                link.abort()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow(self) -> None:
        """From now on, forward neither data nor the end of the marked connections that are open.
        New connections work as usual.
        """
        for link in self._marked():
            link.swallows = True

    def lose_client_ends(self) -> None:
        """Close the client's side of the connections that `swallow` has affected. The server does
        not notice.
        """
        for link in self._marked():
            if link.swallows:
                link.to_client.transport.abort()

    def _marked(self) -> list["_Link"]:
        return [link for link in self._links if link.is_marked]

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server, to_server = await asyncio.open_connection(self._host, self._port)
        except OSError:
            to_client.transport.abort()
            return
        link = _Link(to_client, to_server)
        self._links.append(link)
        await asyncio.gather(link.copy(client, to_server, self._mark), link.copy(server, to_client))


class _Link:
    """A connection through the proxy: one socket to the client and one to the server."""

    def __init__(self, to_client: asyncio.StreamWriter, to_server: asyncio.StreamWriter) -> None:
        self.to_client, self.to_server = to_client, to_server
        self.is_marked = self.swallows = False

    async def copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, mark: bytes | None = None
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK):
                self.is_marked |= mark is not None and mark in chunk
                if not self.swallows:
                    writer.write(chunk)
                    await writer.drain()
        if not self.swallows:
            writer.close()

    def abort(self) -> None:
        self.to_client.transport.abort()
        self.to_server.transport.abort()
