"""A proxy between a worker and a server that loses some answers. The server has then done the work,
but the client does not know.

After losing an answer, the proxy closes the connection, as a broken network would sooner or later.
"""

import asyncio
import contextlib
import random
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

#: Bytes by which the proxy recognizes each kind of request whose answer it may lose. For a prepared
#: statement, only the request that prepares it contains them; later requests contain its name.
ASKS = {
    "fetch": b"EVALSHA",
    "claim": b"SET claim = t.claim + (t.holder IS DISTINCT FROM w.id)::int",
    "finish": b"applied AS (",
}
_STATEMENT = re.compile(rb"__asyncpg_stmt_[0-9a-f]+__")
CHUNK = 65_536


class Proxy:
    """A proxy for one server. `loses` is the share of answers, to the kinds of requests in `ASKS`,
    that the proxy loses.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        self._url, self._host, self._port = url, parts.hostname, parts.port
        self._listening: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self.loses = 0.0
        self.lost: Counter[str] = Counter()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Run the proxy inside this context. Yields the URL that leads through the proxy."""
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        try:
            yield self._url.replace(f":{self._port}/", f":{port}/")
        finally:
            self._listening.close()
            for connection in self._open:
                connection.cancel()
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            server, to_server = await asyncio.open_connection(self._host, self._port)
            connection = Connection(self)
            async with asyncio.TaskGroup() as group:
                group.create_task(connection.forward(client, to_server))
                group.create_task(connection.answer(server, to_client))
        except* (OSError, EOFError):
            pass
        finally:
            self._open.discard(task)
            with contextlib.suppress(OSError, UnboundLocalError):
                to_client.transport.abort()
                to_server.transport.abort()


class Connection:
    """One connection through the proxy. When it receives a request, it decides whether the answer
    will be lost.
    """

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._prepared: dict[bytes, str] = {}
        self._loses: str | None = None

    async def forward(self, client: asyncio.StreamReader, to_server: asyncio.StreamWriter) -> None:
        while chunk := await client.read(CHUNK):
            asked = self._asked(chunk)
            if asked is not None and random.random() < self._proxy.loses:
                self._loses = asked
            to_server.write(chunk)
            await to_server.drain()
        raise EOFError

    async def answer(self, server: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        while chunk := await server.read(CHUNK):
            if self._loses is not None:
                self._proxy.lost[self._loses] += 1
                raise EOFError
            to_client.write(chunk)
            await to_client.drain()
        raise EOFError

    def _asked(self, chunk: bytes) -> str | None:
        """The kind of request that this chunk of data executes, or None. A request that only
        prepares a statement executes nothing.
        """
        name = _STATEMENT.search(chunk)
        shown = next((ask for ask, words in ASKS.items() if words in chunk), None)
        if name is None:
            return shown if shown == "fetch" else None
        if shown is not None:
            self._prepared[name.group()] = shown
            return None
        return self._prepared.get(name.group())
