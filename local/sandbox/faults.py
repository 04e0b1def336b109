"""Simulates failures of outside services: `POST /sandbox/faults` adds one, `DELETE /sandbox/faults`
removes all.

A failure happens before the service sees the request, or after it did its work (`drop: "after"`,
`"within"`). In the second case only the answer is lost, as when a connection breaks.
"""

import asyncio
import math
import random
import zlib
from itertools import repeat
from typing import Annotated, Any, Literal

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send
from msgspec import Meta, Struct

#: Number of compressed megabytes that are sent in one piece of a decompression bomb. Compressed,
#: they take 64 KB.
AT_ONCE = 64


class Fault(Struct, kw_only=True, forbid_unknown_fields=True):
    """A failure that the sandbox simulates for requests to one service."""

    #: Service that fails, as the first segment of its paths: serpapi, travclan, push or stripe.
    service: str
    #: Limits the failure to requests whose path contains this text.
    path: str = ""
    #: HTTP status of the simulated answer. null lets the service itself answer; its answer may then
    #: be late or lost.
    status: Annotated[int, Meta(ge=200, le=599)] | None = None
    body: str = ""
    headers: dict[str, str] = {}
    delay_s: Annotated[float, Meta(ge=0, le=300)] = 0.0
    #: When the connection is cut: before the service sees the request, after the service has
    #: processed it (instead of the answer), or in the middle of the answer. null does not cut it.
    drop: Literal["before", "after", "within"] | None = None
    #: Sends the answer endlessly, one byte at a time: in the headers, or in the body after the
    #: status (`status`, or 200). null sends a normal answer.
    drip: Literal["headers", "body"] | None = None
    #: Seconds between two bytes of an answer that `drip` sends.
    drip_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    #: Decompressed size in megabytes of an answer that is a decompression bomb. It is sent as gzip,
    #: a thousandth of that size.
    bomb_mb: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    #: Number of matching requests that succeed before the first one fails.
    skip: Annotated[int, Meta(ge=0)] = 0
    #: Number of requests that fail; null means all, until the fault is removed.
    times: Annotated[int, Meta(ge=1)] | None = 1
    #: Share of the matching requests that fail, chosen at random.
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0

    @property
    def answers(self) -> bool:
        """Whether the fault itself answers the request, so that the service never sees it."""
        return any(each is not None for each in (self.status, self.drip, self.bomb_mb))

    @property
    def kind(self) -> str:
        if self.drop is not None:
            return f"dropped {self.drop}"
        if self.drip is not None:
            return f"drips {self.drip}"
        return "bomb" if self.bomb_mb is not None else str(self.status or "late")


class Faults:
    """The simulated failures, oldest first, and the middleware that applies them."""

    def __init__(self) -> None:
        self.armed: list[Fault] = []
        #: Number of failures so far by kind, such as "stripe 503" or "push dropped after".
        self.happened: dict[str, int] = {}
        self._chance = random.Random()

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """Wrap an ASGI app in the middleware that simulates failures.

        It has to be the outermost one, because cutting a connection bypasses everything else.
        """

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            fault = self._take(scope["path"]) if scope["type"] == ScopeType.HTTP else None
            if fault is None:
                await app(scope, receive, send)
                return
            await asyncio.sleep(fault.delay_s)
            if fault.drop == "within":
                await app(scope, receive, _half(send))
                return
            if fault.drop == "after":
                await app(scope, receive, _swallow)
            if fault.drop is not None:
                _cut(send)
            elif fault.answers:
                await _misbehave(fault, send)
            else:
                await app(scope, receive, send)

        return faulty

    def _take(self, path: str) -> Fault | None:
        service = path.strip("/").partition("/")[0]
        for fault in self.armed:
            if fault.service != service or fault.path not in path or self._chance.random() >= fault.share:
                continue
            if fault.skip:
                fault.skip -= 1
                continue
            if fault.times is not None:
                fault.times -= 1
                if not fault.times:
                    self.armed.remove(fault)
            name = f"{service} {fault.kind}"
            self.happened[name] = self.happened.get(name, 0) + 1
            return fault
        return None


async def _swallow(_: Any) -> None:
    pass


def _cut(send: Any) -> None:
    """Close the client's connection without an answer.

    `send` is a method of uvicorn's object for this request, which holds the connection.
    """
    send.__self__.transport.abort()


def _half(send: Send) -> Send:
    async def send_half(message: Any) -> None:
        if message["type"] == "http.response.body":
            half = message["body"][: len(message["body"]) // 2]
            await send({"type": "http.response.body", "body": half, "more_body": True})
            _cut(send)
        else:
            await send(message)

    return send_half


async def _misbehave(fault: Fault, send: Send) -> None:
    if fault.drip == "headers":
        await _drip_headers(fault, send)
    elif fault.drip == "body":
        await _start(fault, send, {})
        await _drip_body(fault, send)
    elif fault.bomb_mb is not None:
        await _bomb(fault.bomb_mb, fault, send)
    else:
        await _answer(fault, send)


async def _drip_headers(fault: Fault, send: Any) -> None:
    """Send endless headers. They are written to the connection directly, because uvicorn sends
    headers in one piece.
    """
    transport = send.__self__.transport
    transport.write(f"HTTP/1.1 {fault.status or 200} Slow\r\nX-Slow: ".encode())
    while not transport.is_closing():
        transport.write(b"x")
        await asyncio.sleep(fault.drip_s)


async def _drip_body(fault: Fault, send: Any) -> None:
    while not send.__self__.transport.is_closing():
        await send({"type": "http.response.body", "body": b" ", "more_body": True})
        await asyncio.sleep(fault.drip_s)


async def _bomb(megabytes: int, fault: Fault, send: Send) -> None:
    """Send a decompression bomb: compress one megabyte once, and send it repeatedly, as fast as the
    client reads.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    begin = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    packed = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    await _start(fault, send, {"content-encoding": "gzip"})
    for piece in (begin, *repeat(packed * AT_ONCE, math.ceil(megabytes / AT_ONCE))):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _start(fault: Fault, send: Send, more: dict[str, str]) -> None:
    headers = {"content-type": "application/json", **more, **fault.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    start: Any = {"type": "http.response.start", "status": fault.status or 200, "headers": encoded}
    await send(start)


async def _answer(fault: Fault, send: Send) -> None:
    await _start(fault, send, {})
    await send({"type": "http.response.body", "body": fault.body.encode(), "more_body": False})
