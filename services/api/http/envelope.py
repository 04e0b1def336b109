"""The layer around the whole application: what all answers have in common.

It completes their headers, counts them, lets others know what the request has done, and answers HEAD wherever
GET is answered, with the same headers and no body (RFC 9110, 9.3.2).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from services.api.audit import trail
from services.api.drain import Drain
from services.api.http import answer_headers, health, request_metrics

#: Called with the acts that a request has left in the audit log, before it is answered.
Follow = Callable[[Collection[str]], Awaitable[None]]


class Envelope:
    """Wraps the application from outside, because routing already depends on the method."""

    def __init__(self, app: ASGIApp, drain: Drain, follow: Follow) -> None:
        self._app = app
        self._drain = drain
        self._follow = follow

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        answer = _Answer(scope, send, self._drain, self._follow)
        if scope["path"] in health.PATHS:
            await self._app(scope, receive, answer.send)
            return
        request_metrics.UNDER_WAY.inc()
        try:
            await self._app(scope, receive, answer.send)
        finally:
            request_metrics.UNDER_WAY.dec()
            request_metrics.count(scope, answer.status, answer.duration_s)


class _Answer:
    """One answer on its way to the client."""

    __slots__ = (
        *("_acts", "_began", "_clock", "_drain", "_follow", "_scope", "_send"),
        *("duration_s", "status"),
    )

    def __init__(self, scope: HTTPScope, send: Send, drain: Drain, follow: Follow) -> None:
        self._scope, self._send, self._drain, self._follow = scope, send, drain, follow
        self._acts = trail.collected()
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        #: Where no answer is sent, because the client is gone, they stay as they are.
        self.status, self.duration_s = 200, 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            closes = self._drain.began
            if self._acts:
                await self._follow(self._acts)
            message["headers"] = answer_headers.complete(self._scope, message["headers"], closes=closes)
        else:
            self.duration_s = self._clock() - self._began
        await self._send(message)


def _without_body(send: Send) -> Send:
    ended = False

    async def send_headers(message: Message) -> None:
        """The answer ends with its headers, so that an endless stream ends as well."""
        nonlocal ended
        if ended:
            return
        if message["type"] == "http.response.body":
            ended = True
            message = {**message, "body": b"", "more_body": False}
        await send(message)

    return send_headers
