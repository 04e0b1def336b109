"""Lets a task body report that it has begun, over a datagram socket, in the same way for this
project and for the other task systems.

The other task systems import this module in their own environments, so it needs only the standard
library.
"""

import asyncio
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

#: Environment variable with the path of the socket to which task bodies report their start.
VARIABLE = "BENCH_DOORBELL"
TIMEOUT_S = 30.0

_RING = struct.Struct("<qd")
_socket: socket.socket | None = None


def ring(token: int) -> None:
    """Report the start of a task. A task body calls this first; `token` identifies the task in the
    report.
    """
    global _socket
    now = time.time()
    if _socket is None:
        _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _socket.sendto(_RING.pack(token, now), os.environ[VARIABLE])


class Doorbell:
    """The socket on which the benchmark receives the reports of task bodies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self.path.unlink()

    def wait(self) -> tuple[int, float]:
        """Wait for the next report of a task's start. Returns the task's token and the time of its
        start. Raises TimeoutError.
        """
        self._socket.settimeout(TIMEOUT_S)
        token, at = _RING.unpack(self._socket.recv(_RING.size))
        return token, at

    async def heard(self) -> tuple[int, float]:
        """Wait for the next report like `wait`, but for use in an event loop."""
        self._socket.setblocking(False)
        async with asyncio.timeout(TIMEOUT_S):
            data = await asyncio.get_running_loop().sock_recv(self._socket, _RING.size)
        token, at = _RING.unpack(data)
        return token, at
