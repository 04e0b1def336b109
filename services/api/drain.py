"""Stops the API in two steps, so that no request meets a closed socket.

After SIGTERM, the server reports that it is not ready and continues to serve until proxies have
noticed. Then it accepts no new connections, finishes the open requests and exits.
"""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn


class Drain:
    """Records whether this process is about to stop. While it is, each connection is closed after
    the answer to its current request.
    """

    def __init__(self) -> None:
        self.began = False
        #: Ends all event streams. It is called when the process stops, before open requests are
        #: awaited, because event streams do not end by themselves.
        self.end_streams: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """A server that continues to serve for `drain_s` seconds after SIGTERM. SIGINT or a second
    SIGTERM stops it immediately.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._stops_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM or self._stops_at is not None or self._drain_s == 0:
            super().handle_exit(sig, frame)
            return
        self._captured_signals.append(sig)
        self._drain.began = True
        self._stops_at = time.monotonic() + self._drain_s

    async def on_tick(self, counter: int) -> bool:
        """Return True when the server must stop. uvicorn calls this ten times a second."""
        drained = self._stops_at is not None and time.monotonic() >= self._stops_at
        return await super().on_tick(counter) or drained

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.end_streams()
        await super().shutdown(sockets)
