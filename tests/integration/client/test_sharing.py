"""Tests of a client that several threads or tasks share, and of canceled calls."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from typing import Any

import httpx
import pytest

from often_client import AsyncClient, Client
from tests.eventually import eventually
from tests.integration.client.stub_api import Answer, Asked, StubApi, problem
from tests.integration.client.test_command_line_faults import ME

#: Number of simultaneous requests. It is more than the idle connections that httpx keeps by
#: default.
BURST = 30
EXPIRED = problem(401, "not-signed-in", "The token has expired.")


class Renewing:
    """Answers with success only if the request has the renewed token.

    Renewing the token takes until `may_renew` is set.
    """

    def __init__(self) -> None:
        self.may_renew = threading.Event()

    def __call__(self, asked: Asked) -> Answer:
        if asked.path.endswith("/auth/refresh"):
            assert self.may_renew.wait(30)
            return Answer(body={"access_token": "new", "refresh_token": "newer", "expires_in": 60})
        return ME if asked.headers["Authorization"] == "Bearer new" else EXPIRED


@pytest.fixture
def renewing() -> Renewing:
    return Renewing()


@pytest.fixture
def stub(renewing: Renewing) -> Iterator[StubApi]:
    with StubApi(renewing).serving() as stub:
        yield stub


def signed_in(client: Any) -> Any:
    """Give a client an access token that has expired, and a refresh token. Returns the client."""
    client.session.token, client.session.refresh_token = "old", "refresh"
    client.session.is_renewable = True
    return client


def renewals(stub: StubApi) -> int:
    return sum(asked.path.endswith("/auth/refresh") for asked in stub.asked)


async def test_a_canceled_call_does_not_end_the_session_that_it_renews(
    stub: StubApi, renewing: Renewing
) -> None:
    async with signed_in(AsyncClient(stub.url)) as client:
        impatient = asyncio.create_task(client.me())
        await eventually(lambda: renewals(stub) == 1)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        renewing.may_renew.set()
        others = await asyncio.gather(*(client.me() for _ in range(5)))
        assert {each.id for each in others} == {7}
    assert (renewals(stub), client.session.refresh_token) == (1, "newer")


def test_threads_share_one_pool_of_connections_and_one_renewal(
    stub: StubApi, renewing: Renewing, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[httpx.Client] = []
    create = httpx.Client.__init__

    def create_slowly(self: httpx.Client, *arguments: Any, **options: Any) -> None:
        opened.append(self)
        time.sleep(0.05)  # long enough for the other threads to reach this point, too
        create(self, *arguments, **options)

    monkeypatch.setattr(httpx.Client, "__init__", create_slowly)
    renewing.may_renew.set()
    with signed_in(Client(stub.url)) as client, ThreadPoolExecutor(8) as threads:
        assert {each.id for each in threads.map(lambda _: client.me(), range(8))} == {7}
    assert (len(opened), renewals(stub)) == (1, 1)


async def test_a_second_burst_reuses_the_connections_of_the_first() -> None:
    together = threading.Barrier(BURST)

    def answer(_: Asked) -> Answer:
        together.wait(30)
        return ME

    with StubApi(answer).serving() as stub:
        async with AsyncClient(stub.url, "key") as client:
            for _ in range(2):
                await asyncio.gather(*(client.me() for _ in range(BURST)))
        assert len(stub.connections) == BURST


async def test_a_closed_stream_has_closed_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[httpx.Response] = []
    close = httpx.Response.aclose

    async def note_and_close(self: httpx.Response) -> None:
        await close(self)
        closed.append(self)

    monkeypatch.setattr(httpx.Response, "aclose", note_and_close)
    stream = Answer(
        body=b"event: state\ndata: {}\n\n: more\n\n", headers={"Content-Type": "text/event-stream"}
    )
    with StubApi(lambda _: stream).serving() as stub:
        async with AsyncClient(stub.url, "key") as client:
            async with aclosing(client.events()) as events:
                assert (await anext(events)).event == "state"
            assert len(closed) == 1
