"""Says the moment at which a body began: over a datagram socket, the same for both sides.

Peers import it in their own environments: it needs the standard library only.
"""

import asyncio
import os
import socket
import struct
import time
from pathlib import Path
from types import TracebackType
from typing import Self

#: Names the socket.
VARIABLE = "BENCH_DOORBELL"
TIMEOUT_S = 30.0

_RING = struct.Struct("<qd")
_socket: socket.socket | None = None


def ring(token: int) -> None:
    """Called first in a body; `token` says which one it is."""
    global _socket
    now = time.time()
    if _socket is None:
        _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _socket.sendto(_RING.pack(token, now), os.environ[VARIABLE])


class Doorbell:
    """The end that listens."""

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
        """Token and moment of the next ring. Raises TimeoutError."""
        self._socket.settimeout(TIMEOUT_S)
        token, at = _RING.unpack(self._socket.recv(_RING.size))
        return token, at

    async def heard(self) -> tuple[int, float]:
        """As `wait`, in an event loop."""
        self._socket.setblocking(False)
        async with asyncio.timeout(TIMEOUT_S):
            data = await asyncio.get_running_loop().sock_recv(self._socket, _RING.size)
        token, at = _RING.unpack(data)
        return token, at
