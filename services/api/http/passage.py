"""Middleware of each route. It refuses requests while the database is unfit to serve, and ends
requests that take too long.
"""

import asyncio
from typing import Any

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from services.api.http import health
from services.api.http.refusals import BodyTooSlow, RequestTooSlow
from shared.ledger.schema_check import SchemaCheck

#: Key in the ASGI scope of a function that extends the request's deadline by a number of seconds.
#: Requests that wait on purpose call this function.
MORE_TIME = "often.more_time"


class Passage:
    """Ends requests that take too long, because the server is slow or the body arrives slowly. An
    answer that has begun has no deadline, because it may be an endless stream.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, schema: SchemaCheck) -> None:
        self._app = app
        self._timeout_s = timeout_s
        self._schema = schema

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request within its deadline. Raises UnfitDatabase, RequestTooSlow or
        BodyTooSlow.
        """
        if self._schema.problem is not None and scope["path"] not in health.PATHS:
            raise self._schema.problem
        receiving = False

        async def watched_receive() -> Any:
            nonlocal receiving
            receiving = True
            message = await receive()
            receiving = False
            return message

        async def watched_send(message: Message) -> None:
            if message["type"] == "http.response.start":
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
