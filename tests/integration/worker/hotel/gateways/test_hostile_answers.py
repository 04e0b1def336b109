"""Tests of answers that never end, or that grow when they are decompressed.

Every gateway must stop at its limits.
"""

import asyncio
import contextlib
import dataclasses
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple, Protocol

import pytest

from local import outside
from services.worker.hotel.gateways.circuits import FAILURES
from services.worker.hotel.gateways.provider import Pace, ProviderAway, ProviderBusy, ProviderRefused
from services.worker.hotel.gateways.serpapi import SerpApiGateway
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.gateways.travclan import TravClanGateway
from services.worker.hotel.gateways.webpush import Subscription, WebPushGateway
from shared.hotel.settings import HotelSettings
from shared.settings import read
from tests.platform import VAPID_PRIVATE_KEY
from tests.sandbox import Sandbox

DEADLINE = timedelta(seconds=1)
DEADLINES = ("SERPAPI", "TRAVCLAN", "PUSH", "STRIPE")
#: The decompressed size of a hostile answer, whose compressed size is a thousandth of that, and the
#: memory that a gateway may use for it.
BOMB_MB, MAX_TAKEN_MB = 1_000, 32


class Gateway(Protocol):
    async def close(self) -> None: ...


class Caller(NamedTuple):
    """A gateway, the name of the service that the sandbox simulates for it, and a function that
    calls the gateway.
    """

    service: str
    gateway: Gateway
    call: Callable[[], Awaitable[Any]]


@pytest.fixture
def settings(sandbox: Sandbox) -> HotelSettings:
    environ = outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment
    deadlines = {f"OFTEN_{name}_DEADLINE": str(DEADLINE.total_seconds()) for name in DEADLINES}
    return read(environ | deadlines, needs=()).of(HotelSettings)


class Push:
    """A gateway for push messages, and a browser that can receive them."""

    def __init__(self, gateway: WebPushGateway, browser: Subscription) -> None:
        self._gateway = gateway
        self._browser = browser

    async def send(self, urgency: str = "normal", endpoint: str = "") -> None:
        browser = dataclasses.replace(self._browser, endpoint=endpoint or self._browser.endpoint)
        await self._gateway.send(browser, b"{}", ttl_s=60, urgency=urgency, topic="t")


@pytest.fixture
async def push(settings: HotelSettings, pace: Pace, sandbox: Sandbox) -> AsyncIterator[Push]:
    subscribed = await sandbox.subscribe()
    gateway = WebPushGateway.from_settings(settings, pace)
    yield Push(
        gateway,
        Subscription(7, subscribed["endpoint"], subscribed["keys"]["p256dh"], subscribed["keys"]["auth"]),
    )
    await gateway.close()


@pytest.fixture(params=["serpapi", "travclan", "stripe"])
async def caller(
    request: pytest.FixtureRequest, settings: HotelSettings, pace: Pace
) -> AsyncIterator[Caller]:
    """A call of the gateway whose service the test names.

    All these gateways read the body of the answer.
    """
    serpapi = SerpApiGateway.from_settings(settings, pace)
    travclan = TravClanGateway.from_settings(settings, pace)
    stripe = StripeGateway.from_settings(settings, pace)
    callers = (
        Caller("serpapi", serpapi, serpapi.account),
        Caller("travclan", travclan, lambda: travclan.find_location("Goa")),
        Caller("stripe", stripe, lambda: stripe.read("pi_1")),
    )
    yield next(each for each in callers if each.service == request.param)
    for each in callers:
        await each.gateway.close()


@pytest.mark.parametrize("where", ["headers", "body"])
async def test_an_answer_that_drips_ends_at_the_deadline(
    caller: Caller, sandbox: Sandbox, where: str
) -> None:
    await sandbox.arm(service=caller.service, drip=where, drip_s=0.1)

    with pytest.raises(ProviderAway, match=r"did not answer within 1 s"):
        await asyncio.wait_for(caller.call(), 5 * DEADLINE.total_seconds())


async def test_an_answer_that_would_decompress_to_a_gigabyte_is_not_decompressed(
    caller: Caller, sandbox: Sandbox
) -> None:
    await sandbox.arm(service=caller.service, bomb_mb=BOMB_MB)

    tracemalloc.start()
    with pytest.raises(ProviderAway, match="sent more than 8388608 bytes, the limit of one answer"):
        await caller.call()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak < MAX_TAKEN_MB * 2**20


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "deflate"])
async def test_an_encoding_that_was_not_offered_is_refused(
    caller: Caller, sandbox: Sandbox, encoding: str
) -> None:
    await sandbox.arm(service=caller.service, status=200, body="{}", headers={"content-encoding": encoding})
    with pytest.raises(ProviderAway, match="but only gzip was offered"):
        await caller.call()


async def test_a_push_service_is_judged_by_its_status(push: Push, sandbox: Sandbox) -> None:
    faults: tuple[dict[str, Any], ...] = ({"drip": "body", "drip_s": 0.1}, {"bomb_mb": BOMB_MB})
    for fault in faults:
        await sandbox.arm(service="push", status=201, **fault)
        await push.send()
        await sandbox.arm(service="push", status=403, **fault)
        with pytest.raises(ProviderRefused, match="answered 403"):
            await push.send()
    await sandbox.arm(service="push", drip="headers", drip_s=0.1)
    with pytest.raises(ProviderAway, match="did not answer within 1 s"):
        await push.send()


async def test_a_stalled_push_service_occupies_only_some_of_the_threads(
    settings: HotelSettings, pace: Pace, sandbox: Sandbox
) -> None:
    subscribed = await sandbox.subscribe()
    gateway = WebPushGateway.from_settings(settings, pace, threads=4)
    push = Push(
        gateway,
        Subscription(7, subscribed["endpoint"], subscribed["keys"]["p256dh"], subscribed["keys"]["auth"]),
    )
    await sandbox.arm(service="push", drip="headers", drip_s=0.1, times=8)

    ends = await asyncio.gather(*(push.send() for _ in range(8)), return_exceptions=True)
    await gateway.close()

    refused = [end for end in ends if isinstance(end, ProviderBusy)]
    assert sum(isinstance(end, ProviderAway) for end in ends) == 3
    assert len(refused) == 5
    assert all("3 pushes at a time to" in str(end) for end in refused)


async def test_a_redirect_is_not_followed(push: Push, sandbox: Sandbox) -> None:
    other = (await sandbox.subscribe())["endpoint"]
    await sandbox.arm(service="push", status=307, headers={"location": other})
    with pytest.raises(ProviderRefused, match="answered 307"):
        await push.send()
    assert (await sandbox.books())["push"]["receipts"] == 0


async def test_requests_that_cannot_be_sent_do_not_count_against_the_push_service(push: Push) -> None:
    for urgency in ("high\n", "high\r\nX: y", "é"):
        for _ in range(FAILURES):
            with pytest.raises(ProviderRefused, match="cannot be sent"):
                await push.send(urgency)
    await push.send()


@pytest.mark.parametrize("port", [9, 22, 25, 80, 1023, 6667, 10080])
async def test_a_port_that_browsers_block_is_refused_for_good(push: Push, port: int) -> None:
    for _ in range(FAILURES + 1):
        with pytest.raises(ProviderRefused, match="subscription 7 can't be used: its endpoint must have"):
            await push.send(endpoint=f"https://push.example.com:{port}/1")


async def test_a_call_that_is_cancelled_does_not_count_against_the_provider(
    caller: Caller, sandbox: Sandbox
) -> None:
    """A client that cancels its own tasks must not make the gateway stop calling the service for
    others.
    """
    await sandbox.arm(service=caller.service, delay_s=5, times=FAILURES)
    for _ in range(FAILURES):
        await cancelled_within(caller.call())
    await sandbox.clear()
    try:
        await caller.call()
    except ProviderBusy as error:
        pytest.fail(f"the circuit is open: {error}")
    except ProviderRefused:
        pass  # the sandbox knows no such payment, so it answers with an error


async def cancelled_within(call: Awaitable[Any]) -> None:
    running = asyncio.ensure_future(call)
    await asyncio.wait([running], timeout=0.2)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
