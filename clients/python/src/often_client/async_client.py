"""The async client: carries out the steps of an API call (send, pause, renew the token) in the
caller's event loop.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, TypeVar

from often_client.answers import Page
from often_client.calls.api import ApiCalls
from often_client.connection import arguments_of, http_options, limits, reply_of, unreachable
from often_client.events import Event, Follow
from often_client.exchange import (
    PAUSES_S,
    TIMEOUT_S,
    Call,
    Renew,
    Request,
    Session,
    Step,
    StepResult,
    Steps,
    Wait,
    pauses,
    perform,
    renew,
)
from often_client.paging import next_page

if TYPE_CHECKING:
    from ssl import SSLContext

    import httpx

A = TypeVar("A")


class AsyncClient(ApiCalls):
    """The API client for asyncio.

    All tasks of one event loop may share one client with its connections. Its arguments are those
    of `Client`. Every call may be canceled.
    """

    def __init__(
        self,
        base_url: str,
        token: str | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        retries: int = len(PAUSES_S),
        proxy: str | None = None,
        verify: "SSLContext | bool" = True,
    ) -> None:
        self.session = Session(token, timeout_s=timeout_s, pauses_s=pauses(retries))
        self._http_options = http_options(base_url, proxy, verify)
        self._opened: httpx.AsyncClient | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client's HTTP connections."""
        if self._opened is not None:
            await self._opened.aclose()

    @property
    def _http(self) -> "httpx.AsyncClient":
        import httpx  # noqa: PLC0415 - takes 0.2 s, which programs that only import this package do not need

        if self._opened is None:
            self._opened = httpx.AsyncClient(**self._http_options, limits=limits())
        return self._opened

    async def run(self, steps: Steps[A]) -> A:
        """Carry out the steps of a call, and return the call's result."""
        result: StepResult = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                answer: A = end.value
                return answer
            result = await self._take(step)

    async def iterate(self, call: Call[Page[A]]) -> AsyncGenerator[A, None]:
        """Yield the items of all pages of a list. A page is requested when its first item is
        needed.
        """
        following: Call[Page[A]] | None = call
        while following is not None:
            page = await self.run(perform(self.session, following))
            for item in page.items:
                yield item
            following = next_page(following, page.next_cursor)

    async def follow(self, call: Call[None]) -> AsyncGenerator[Event, None]:
        """Yield the events of an event stream until the stream ends. A lost connection is opened
        again.

        To leave the stream early, close this generator with `contextlib.aclosing`. Python otherwise
        closes its connection at some later time.
        """
        follow = Follow(self.session, call)
        while True:
            async with aclosing(self._connection(follow)) as events:
                async for event in events:
                    yield event
            if follow.is_over:
                return
            await asyncio.sleep(follow.pause_s)

    async def _connection(self, follow: Follow) -> AsyncGenerator[Event, None]:
        """Open one connection of an event stream, and yield its events."""
        import httpx  # noqa: PLC0415 - see `_http`

        token, request = self.session.token, follow.request()
        try:
            async with self._http.stream(**arguments_of(request)) as response:
                if response.is_error:
                    await response.aread()
                reply = reply_of(response)
                if follow.opened(reply):
                    async for received in response.aiter_bytes():
                        for event in follow.read(received):
                            yield event
        except httpx.TransportError as error:
            follow.broke(unreachable(error))
        else:
            if token is not None and follow.may_renew(reply):
                await self._renew(token)

    async def _take(self, step: Step) -> StepResult:
        match step:
            case Request():
                return await self._send(step)
            case Wait(seconds):
                await asyncio.sleep(seconds)
            case Renew(expired):
                await self._renew(expired)
        return None

    async def _renew(self, expired: str) -> None:
        """Replace the session's expired tokens. Tasks that need it at the same time share one
        request.

        The request goes on when its caller is canceled: a refresh token can be used only once, so
        losing the answer would end the session.
        """
        if self.session.token != expired:
            return
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self.run(renew(self.session)))
        await asyncio.shield(self._renewal)

    async def _send(self, request: Request) -> StepResult:
        import httpx  # noqa: PLC0415 - see `_http`

        try:
            return reply_of(await self._http.request(**arguments_of(request)))
        except httpx.TransportError as error:
            return unreachable(error)
