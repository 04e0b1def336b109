"""The sync client: carries out the steps of an API call (send, pause, renew the token) in the
caller's thread.
"""

import threading
import time
from collections.abc import Iterator
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


class Client(ApiCalls):
    """The API client that blocks the calling thread.

    Threads may share one client with its connections. `token` is an API key or an access token;
    `sign_in` works without one. `timeout_s` limits the wait for each answer. A request whose answer
    was lost, or was 429 or 503, is sent again at most `retries` times if that is safe.

    Raises ValueError for an address that is not http:// or https://.
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
        self._opened: httpx.Client | None = None
        self._opening = threading.Lock()
        self._renewing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the client's HTTP connections."""
        if self._opened is not None:
            self._opened.close()

    @property
    def _http(self) -> "httpx.Client":
        import httpx  # noqa: PLC0415 - takes 0.2 s, which programs that only import this package do not need

        with self._opening:
            if self._opened is None:
                self._opened = httpx.Client(**self._http_options, limits=limits())
            return self._opened

    def run(self, steps: Steps[A]) -> A:
        """Carry out the steps of a call, and return the call's result."""
        result: StepResult = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                answer: A = end.value
                return answer
            result = self._take(step)

    def iterate(self, call: Call[Page[A]]) -> Iterator[A]:
        """Yield the items of all pages of a list. A page is requested when its first item is
        needed.
        """
        following: Call[Page[A]] | None = call
        while following is not None:
            page = self.run(perform(self.session, following))
            yield from page.items
            following = next_page(following, page.next_cursor)

    def follow(self, call: Call[None]) -> Iterator[Event]:
        """Yield the events of an event stream until the stream ends. A lost connection is opened
        again.
        """
        follow = Follow(self.session, call)
        while True:
            yield from self._connection(follow)
            if follow.is_over:
                return
            time.sleep(follow.pause_s)

    def _connection(self, follow: Follow) -> Iterator[Event]:
        """Open one connection of an event stream, and yield its events."""
        import httpx  # noqa: PLC0415 - see `_http`

        token, request = self.session.token, follow.request()
        try:
            with self._http.stream(**arguments_of(request)) as response:
                if response.is_error:
                    response.read()
                reply = reply_of(response)
                if follow.opened(reply):
                    for received in response.iter_bytes():
                        yield from follow.read(received)
        except httpx.TransportError as error:
            follow.broke(unreachable(error))
        else:
            if token is not None and follow.may_renew(reply):
                self._renew(token)

    def _take(self, step: Step) -> StepResult:
        match step:
            case Request():
                return self._send(step)
            case Wait(seconds):
                time.sleep(seconds)
            case Renew(expired):
                self._renew(expired)
        return None

    def _renew(self, expired: str) -> None:
        with self._renewing:
            if self.session.token == expired:
                self.run(renew(self.session))

    def _send(self, request: Request) -> StepResult:
        import httpx  # noqa: PLC0415 - see `_http`

        try:
            return reply_of(self._http.request(**arguments_of(request)))
        except httpx.TransportError as error:
            return unreachable(error)
