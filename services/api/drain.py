"""Stops the API in two steps, so that no request meets a closed socket.

At SIGTERM it says that it is not ready and goes on serving, until proxies have noticed. Then it takes no new
connections, finishes the open requests and ends.
"""

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn


class Drain:
    """Whether this process is about to stop. From then on each connection ends with its answer."""

    def __init__(self) -> None:
        self.began = False
        #: Called when the process stops, before it waits for open requests: streams do not end by themselves.
        self.end_streams: Callable[[], None] = lambda: None


class Server(uvicorn.Server):
    """Serves on for `drain_s` seconds after SIGTERM. SIGINT, or a second SIGTERM, stops it at once."""

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
        """True when it is time to stop; asked ten times a second."""
        drained = self._stops_at is not None and time.monotonic() >= self._stops_at
        return await super().on_tick(counter) or drained

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._drain.end_streams()
        await super().shutdown(sockets)
