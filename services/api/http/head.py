"""Answers HEAD on every address that answers GET, with the same headers and no body (RFC 9110, 9.3.2)."""

from typing import Any

from litestar.types import ASGIApp, Message, Receive, Send


class Head:
    """Wraps the whole application, because routing already depends on the method."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
            await self._app(scope, receive, _without_body(send))
        else:
            await self._app(scope, receive, send)


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
