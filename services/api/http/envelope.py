"""The outermost ASGI layer, which does what all answers of the API have in common.

It completes headers, counts answers in the metrics, reports the audited actions of a request to the
function `follow`, and answers HEAD wherever a route has GET, with the same headers and no body (RFC
9110, 9.3.2).
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

from litestar.types import ASGIApp, HTTPScope, Message, Receive, Send

from services.api.audit import trail
from services.api.drain import Drain
from services.api.http import answer_headers, health, request_metrics, request_spans

#: A function that is called before a request is answered, with the names of the actions that the
#: request recorded in the audit log.
Follow = Callable[[Collection[str]], Awaitable[None]]


class Envelope:
    """Wraps the whole application and not its routes, because routing already depends on the
    method.
    """

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
        with request_spans.of(scope) as span:
            request_metrics.UNDER_WAY.inc()
            try:
                await self._app(scope, receive, answer.send)
            finally:
                request_metrics.UNDER_WAY.dec()
                request_metrics.count(scope, answer.status, answer.duration_s)
                if span is not None:
                    request_spans.describe(span, scope, answer.status)


class _Answer:
    """One answer on its way from the application to the client."""

    __slots__ = (
        *("_acts", "_began", "_clock", "_drain", "_ended", "_follow", "_scope", "_send"),
        "status",
    )

    def __init__(self, scope: HTTPScope, send: Send, drain: Drain, follow: Follow) -> None:
        self._scope, self._send, self._drain, self._follow = scope, send, drain, follow
        self._acts = trail.collected()
        self._clock = asyncio.get_running_loop().time
        self._began = self._clock()
        #: Status code of the answer. None until an answer begins; it never begins if the client
        #: gives up before.
        self.status: int | None = None
        self._ended: float | None = None

    @property
    def duration_s(self) -> float:
        """Seconds from the start of the request until the last part of its answer was sent, or
        until now if no answer was sent.
        """
        return (self._ended or self._clock()) - self._began

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            closes = self._drain.began
            if self._acts:
                await self._follow(self._acts)
            message["headers"] = answer_headers.complete(self._scope, message["headers"], closes=closes)
        else:
            self._ended = self._clock()
        await self._send(message)


def _without_body(send: Send) -> Send:
    ended = False

    async def send_headers(message: Message) -> None:
        """Send only the headers of the answer and end it, so that HEAD even ends an endless stream."""
        nonlocal ended
        if ended:
            return
        if message["type"] == "http.response.body":
            ended = True
            message = {**message, "body": b"", "more_body": False}
        await send(message)

    return send_headers
