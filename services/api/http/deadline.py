"""Ends requests that take too long, whether we are slow or the body trickles in."""

import asyncio
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http.refusals import BodyTooSlow, RequestTooSlow

#: Key of the scope: a function that gives the request so many seconds more, for one that waits on purpose.
MORE_TIME = "often.more_time"


class Deadline:
    """Middleware around all routes. An answer that has begun has no deadline: it may be a stream."""

    def __init__(self, app: ASGIApp, timeout_s: float) -> None:
        self._app = app
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises RequestTooSlow or BodyTooSlow."""
        receiving = False

        async def watched_receive() -> Any:
            nonlocal receiving
            receiving = True
            message = await receive()
            receiving = False
            return message

        async def watched_send(message: Message) -> None:
            timer.reschedule(None)
            await send(message)

        def more_time(seconds: float) -> None:
            timer.reschedule(asyncio.get_running_loop().time() + self._timeout_s + seconds)

        try:
            async with asyncio.timeout(self._timeout_s) as timer:
                scope[MORE_TIME] = more_time  # type: ignore[literal-required]
                await self._app(scope, watched_receive, watched_send)
        except TimeoutError as error:
            if not timer.expired():
                raise
            raise (BodyTooSlow if receiving else RequestTooSlow)(self._timeout_s) from error
