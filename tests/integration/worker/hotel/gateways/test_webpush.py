"""Tests of the gateway for Web Push, over real sockets: what the browser receives, and each kind of
failure.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import msgspec
import pytest

from local.sandbox import vapid
from services.worker.hotel.gateways import answer
from services.worker.hotel.gateways.circuits import FAILURES
from services.worker.hotel.gateways.provider import (
    Pace,
    Provider,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from services.worker.hotel.gateways.webpush import (
    REASON_HEADERS,
    Subscription,
    SubscriptionGone,
    WebPushGateway,
)
from shared.hotel import web_push
from shared.hotel.settings import HotelSettings
from tests.integration.worker.hotel.gateways.failures import IMPATIENT, NO_ANSWER, everything_said
from tests.platform import VAPID_PRIVATE_KEY
from tests.sandbox import Sandbox

ANOTHER_PRIVATE_KEY = web_push.encode(bytes(range(2, 34)))
#: Subscription endpoints at two push services. Only this test's transport answers for them.
HERE, THERE = "https://push.example.com/1", "https://push.example.org/2"
CUT_IN_THE_BODY = {"drop": "within"}
TASK = "m4de-up_t4sk"


def settings(url: str, **fields: Any) -> HotelSettings:
    given = {"vapid_private_key": VAPID_PRIVATE_KEY, "push_sandbox_url": f"{url}/push"}
    return HotelSettings(**given | {"push_rate": "1000/second"} | fields)


@pytest.fixture
async def gateway(sandbox: Sandbox, pace: Pace) -> AsyncIterator[WebPushGateway]:
    gateway = WebPushGateway.from_settings(settings(sandbox.url, push_deadline=IMPATIENT), pace)
    yield gateway
    await gateway.close()


@pytest.fixture
async def browser(sandbox: Sandbox) -> Subscription:
    return await subscribe(sandbox)


async def subscribe(sandbox: Sandbox) -> Subscription:
    subscribed = await sandbox.subscribe()
    return Subscription(7, subscribed["endpoint"], subscribed["keys"]["p256dh"], subscribed["keys"]["auth"])


async def send(
    gateway: WebPushGateway, to: Subscription, payload: bytes = b'{"title": "Hello"}', **options: Any
) -> None:
    how: dict[str, Any] = {"ttl_s": 60, "urgency": "normal", "topic": TASK}
    await gateway.send(to, payload, **how | options)


def says_nothing_of(to: Subscription, error: BaseException) -> bool:
    said = everything_said(error)
    secrets = (to.endpoint, httpx.URL(to.endpoint).path.rpartition("/")[2], to.p256dh, to.auth)
    return not any(secret in said for secret in secrets)


async def books_of(sandbox: Sandbox, browser: Subscription) -> dict[str, Any]:
    books = (await sandbox.books())["push"]["subscriptions"]
    found: dict[str, Any] = books[browser.endpoint.rpartition("/")[2]]
    return found


async def test_a_browser_can_decrypt_what_was_sent(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    await send(gateway, browser, b'{"title": "\xe2\x82\xb9 900"}', ttl_s=90, urgency="high")

    assert (await books_of(sandbox, browser))["receipts"] == [
        {"topic": TASK, "urgency": "high", "ttl_s": 90, "content": {"title": "₹ 900"}}
    ]


async def test_a_message_with_a_ttl_of_zero_carries_the_cache_policy_that_windows_requires(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    await send(gateway, browser, ttl_s=0)

    books = await books_of(sandbox, browser)
    assert [message["ttl_s"] for message in books["receipts"]] == [0]
    assert books["waiting"] == []


async def test_a_reason_that_is_only_in_a_header_is_in_the_error(
    browser: Subscription,
) -> None:
    async with httpx.AsyncClient() as client:
        refused = await client.post(
            browser.endpoint, headers={"TTL": "0", "Content-Encoding": "aes128gcm"}, content=b"x"
        )
    said = answer.words(refused, "the push service", (), REASON_HEADERS)
    assert said == "the push service answered 400: Ttl value conflicts with X-WNS-Cache-Policy."


async def test_a_message_sent_again_replaces_the_waiting_one(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    for payload, topic in ((b"1", TASK), (b"2", "another"), (b"3", TASK)):
        await send(gateway, browser, payload, topic=topic)

    books = await books_of(sandbox, browser)

    assert [message["content"] for message in books["receipts"]] == [1, 2, 3]
    assert [message["content"] for message in books["waiting"]] == [2, 3]


async def test_the_longest_message_that_fits_is_sent_and_a_longer_one_is_not(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    await send(gateway, browser, msgspec.json.encode("x" * 3_991))
    with pytest.raises(ProviderRefused, match="at most 3993 bytes, not 3994"):
        await send(gateway, browser, msgspec.json.encode("x" * 3_992))

    books = (await sandbox.books())["push"]
    assert (books["receipts"], books["refused"]) == (1, {})


async def test_a_token_is_renewed_before_it_expires(
    gateway: WebPushGateway, browser: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    await send(gateway, browser)
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 13 * 3600)

    await send(gateway, browser)


async def test_each_push_service_has_its_own_token_and_circuit(pace: Pace, browser: Subscription) -> None:
    authorizations: dict[str, set[str]] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        authorizations.setdefault(request.url.host, set()).add(request.headers["authorization"])
        return httpx.Response(503 if request.url.host == httpx.URL(HERE).host else 201)

    transport = httpx.MockTransport(answer)
    provider = Provider("Web Push", pace=pace, rate="1000/second", deadline=IMPATIENT, transport=transport)
    key = web_push.private_key(VAPID_PRIVATE_KEY)
    gateway = WebPushGateway(key, "mailto:us@often-hotels.example", "", provider, threads=8)
    here, there = (Subscription(1, url, browser.p256dh, browser.auth) for url in (HERE, THERE))
    for _ in range(FAILURES):
        with pytest.raises(ProviderAway, match=r"the push service push\.example\.com answered 503"):
            await send(gateway, here)
    with pytest.raises(ProviderBusy, match=r"the push service push\.example\.com failed 5 times in a row"):
        await send(gateway, here)

    await send(gateway, there)
    await gateway.close()

    for host in ("push.example.com", "push.example.org"):
        (authorization,) = authorizations[host]
        sender = vapid.check(authorization, f"https://{host}", time.time())
        assert sender == web_push.public_key(VAPID_PRIVATE_KEY)


async def test_a_push_service_that_does_not_listen_counts_as_away(
    dead_url: str, pace: Pace, browser: Subscription
) -> None:
    gateway = WebPushGateway.from_settings(settings(dead_url), pace)
    nowhere = Subscription(7, f"{dead_url}/push/made-up-endpoint", browser.p256dh, browser.auth)

    with pytest.raises(ProviderAway, match=r"127\.0\.0\.1:\d+ did not answer: ConnectError") as caught:
        await send(gateway, nowhere)
    await gateway.close()

    assert says_nothing_of(nowhere, caught.value)


@pytest.mark.parametrize("fault", [f for f in NO_ANSWER if f.get("status") != 200 and f != CUT_IN_THE_BODY])
async def test_a_push_service_that_does_not_answer_counts_as_away(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription, fault: dict[str, Any]
) -> None:
    await sandbox.arm(service="push", **fault)

    with pytest.raises(ProviderAway) as caught:
        await send(gateway, browser)

    assert says_nothing_of(browser, caught.value)
    # If the connection breaks after the push service accepted the message, only its answer is lost,
    # and the browser has the message.
    assert len((await books_of(sandbox, browser))["receipts"]) == (fault.get("drop") == "after")


async def test_an_answer_that_breaks_after_its_status_is_accepted(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    await sandbox.arm(service="push", **CUT_IN_THE_BODY)
    await send(gateway, browser)
    assert len((await books_of(sandbox, browser))["receipts"]) == 1


@pytest.mark.parametrize("status", [429, 503])
async def test_a_push_is_retried_at_the_time_that_the_service_names(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription, status: int
) -> None:
    now = datetime.now(UTC)
    at = format_datetime(now + timedelta(seconds=300), usegmt=True)
    for header, delay_s in (("120", 120), (at, 300), ("Sat, 01 Jan 2000 00:00:00 GMT", 0), ("9" * 9, 86_400)):
        await sandbox.arm(service="push", status=status, headers={"retry-after": header})

        with pytest.raises(ProviderBusy, match=f"answered {status}") as caught:
            await send(gateway, browser)

        assert caught.value.wait_s(now) == pytest.approx(delay_s, abs=10)
        # Only status 503 means that the push service itself is down, so that the gateway stops
        # calling it for a while.
        assert isinstance(caught.value, ProviderAway) == (status == 503)


@pytest.mark.parametrize("header", ["", "soon", "-5", "1.5"])
async def test_a_push_is_retried_after_a_minute_when_the_service_names_no_time(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription, header: str
) -> None:
    await sandbox.arm(service="push", status=429, headers={"retry-after": header})

    with pytest.raises(ProviderBusy) as caught:
        await send(gateway, browser)

    assert caught.value.wait_s(datetime.now(UTC)) == 60


@pytest.mark.parametrize("status", [400, 401, 403, 413])
async def test_a_refusal_contains_the_push_services_own_words_without_the_endpoint(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription, status: int
) -> None:
    body = msgspec.json.encode({"code": status, "message": f"not to {browser.endpoint}!"}).decode()
    await sandbox.arm(service="push", status=status, body=body)

    with pytest.raises(ProviderRefused) as caught:
        await send(gateway, browser)

    host = sandbox.url.removeprefix("http://")
    assert str(caught.value) == f"the push service {host} answered {status}: not to [hidden]!"
    assert says_nothing_of(browser, caught.value)


async def test_a_subscription_to_another_key_is_refused_but_not_reported_as_gone(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription, pace: Pace
) -> None:
    await send(gateway, browser)
    another = WebPushGateway.from_settings(settings(sandbox.url, vapid_private_key=ANOTHER_PRIVATE_KEY), pace)

    with pytest.raises(ProviderRefused, match="403: VAPID: the subscription belongs to another key"):
        await send(another, browser)
    await another.close()


async def test_a_message_encrypted_for_another_browser_is_refused(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    other = await subscribe(sandbox)
    mixed = Subscription(7, browser.endpoint, other.p256dh, other.auth)

    with pytest.raises(ProviderRefused, match="400: The browser could not read this"):
        await send(gateway, mixed)


async def test_an_ended_subscription_is_reported_as_gone(
    gateway: WebPushGateway, sandbox: Sandbox, browser: Subscription
) -> None:
    await sandbox.unsubscribe(browser.endpoint)
    with pytest.raises(SubscriptionGone, match="410: The subscription has ended") as caught:
        await send(gateway, browser)
    assert says_nothing_of(browser, caught.value)

    never = Subscription(7, f"{sandbox.url}/push/never-was", browser.p256dh, browser.auth)
    with pytest.raises(SubscriptionGone, match="404: There is no such subscription"):
        await send(gateway, never)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.0.0.7"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["0.0.0.0"],
        ["224.0.0.1"],
        ["::1"],
        ["fe80::1%1"],
        ["fd00::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["8.8.8.8", "127.0.0.1"],
    ],
)
async def test_a_name_with_a_private_address_is_not_connected_to(
    gateway: WebPushGateway, browser: Subscription, monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        assert (host, port) == ("push.example.com", 443)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    web_push.check_endpoint(HERE, "")
    inside = Subscription(7, HERE, browser.p256dh, browser.auth)

    with pytest.raises(ProviderRefused, match=r"^push\.example\.com leads to an address that is not"):
        await send(gateway, inside)


async def test_a_name_without_an_address_is_a_temporary_error(
    gateway: WebPushGateway, browser: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)

    with pytest.raises(ProviderAway, match=r"push\.example\.com did not answer: ConnectError"):
        await send(gateway, Subscription(7, HERE, browser.p256dh, browser.auth))


async def test_name_lookups_that_hang_do_not_delay_others(
    gateway: WebPushGateway, browser: Subscription, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The push gateway resolves host names in threads of its own, because slow lookups in the event
    loop's threads would delay all other lookups of the worker.
    """
    over, real = threading.Event(), socket.getaddrinfo

    def resolve(host: Any, *args: Any, **options: Any) -> Any:
        if host == "push.example.com":
            over.wait(30)
        return real(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hanging = Subscription(7, HERE, browser.p256dh, browser.auth)
    try:
        with pytest.raises(ProviderAway):
            await send(gateway, hanging)
        assert await asyncio.wait_for(loop.getaddrinfo("localhost", 80), 5)
    finally:
        over.set()


@pytest.mark.parametrize("endpoint", ["https://127.0.0.1/1", "http://push.example.com/1"])
async def test_an_endpoint_stored_under_earlier_rules_is_refused(
    gateway: WebPushGateway, browser: Subscription, endpoint: str
) -> None:
    with pytest.raises(ProviderRefused, match="subscription 7 can't be used: its endpoint must") as caught:
        await send(gateway, Subscription(7, endpoint, browser.p256dh, browser.auth))
    assert endpoint not in everything_said(caught.value)
    with pytest.raises(ProviderRefused, match="its keys must"):
        await send(gateway, Subscription(7, HERE, browser.p256dh, "AA"))


async def test_without_a_vapid_key_nothing_is_sent(
    sandbox: Sandbox, browser: Subscription, pace: Pace
) -> None:
    gateway = WebPushGateway.from_settings(settings(sandbox.url, vapid_private_key=""), pace)

    assert not gateway.configured
    with pytest.raises(ProviderRefused, match="VAPID_PRIVATE_KEY is not set"):
        await send(gateway, browser)
    await gateway.close()


def test_the_repr_of_a_subscription_hides_its_secrets() -> None:
    subscription = Subscription(7, HERE, "made-up-point", "made-up-auth")
    assert repr(subscription) == "Subscription(id=7)"
