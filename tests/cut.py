"""A proxy in front of a server. It can cut the connections of one client, while other clients reach
the server directly.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


class Cut:
    """Forwards connections to a server. After `cut`, open connections are broken and new ones are
    closed immediately, until `mend` is called.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._url, self._host, self._port = url, parts.hostname, parts.port
        self._open: set[asyncio.Task[None]] = set()
        self._is_cut = False

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Run the proxy inside this context. Yields the URL that leads through the proxy."""
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = listening.sockets[0].getsockname()[1]
        try:
            yield self._url.replace(f":{self._port}/", f":{port}/")
        finally:
            listening.close()
            self.cut()
            await asyncio.gather(*self._open, return_exceptions=True)

    def cut(self) -> None:
        self._is_cut = True
        for connection in self._open:
            connection.cancel()

    def mend(self) -> None:
        self._is_cut = False

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        with contextlib.ExitStack() as opened:
            opened.callback(self._open.discard, task)
            opened.callback(to_client.transport.abort)
            if self._is_cut:
                return
            server, to_server = await asyncio.open_connection(self._host, self._port)
            opened.callback(to_server.transport.abort)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(_copy(client, to_server), _copy(server, to_client))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(65_536):
        writer.write(chunk)
        await writer.drain()
    raise ConnectionResetError
