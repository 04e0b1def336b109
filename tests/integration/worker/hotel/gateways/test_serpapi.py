"""Tests of the gateway to SerpApi's Google Hotels, over real sockets: pages of results, and each
kind of failure.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from services.worker.hotel.gateways.circuits import FAILURES
from services.worker.hotel.gateways.hotel_page import HotelQuery, HotelRow
from services.worker.hotel.gateways.provider import (
    Pace,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from services.worker.hotel.gateways.serpapi import (
    Account,
    OutOfSearches,
    SerpApiGateway,
    parse_details,
    parse_page,
)
from shared.hotel.settings import HotelSettings
from tests.conftest import ROOT
from tests.hotel_queries import query
from tests.integration.worker.hotel.gateways.failures import IMPATIENT, NO_ANSWER, everything_said
from tests.metric_values import value
from tests.sandbox import Sandbox

#: API key for tests that check that no error contains the key. The usual key "sandbox" is too
#: common a word to search for.
KEY = "key-that-nobody-may-see"


def settings(url: str, **fields: Any) -> HotelSettings:
    given = {"serpapi_key": "sandbox", "serpapi_url": f"{url}/serpapi", "serpapi_rate": "1000/second"}
    return HotelSettings(**given | fields)


@pytest.fixture
async def gateway(sandbox: Sandbox, pace: Pace) -> AsyncIterator[SerpApiGateway]:
    gateway = SerpApiGateway.from_settings(settings(sandbox.url, serpapi_deadline=IMPATIENT), pace)
    yield gateway
    await gateway.close()


@pytest.fixture
async def keyed(sandbox: Sandbox, pace: Pace) -> AsyncIterator[SerpApiGateway]:
    """A gateway with a key that the sandbox rejects, and for which a test can search in errors."""
    gateway = SerpApiGateway.from_settings(settings(sandbox.url, serpapi_key=KEY), pace)
    yield gateway
    await gateway.close()


async def all_rows(gateway: SerpApiGateway, asked: HotelQuery) -> list[HotelRow]:
    rows: list[HotelRow] = []
    page = None
    while True:
        found = parse_page(await gateway.search_page(asked, page), asked)
        rows += found.rows
        page = found.next_page
        if page is None:
            return rows


async def test_pages_are_read_to_the_end(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    rows = await all_rows(gateway, query())

    assert len({row.external_id for row in rows}) == 54
    books = (await sandbox.books())["serpapi"]
    assert books["searches_by_q"] == {"Candolim, Goa, India": 3}
    # Three rows have no price for a night: one hotel is sold out, one is a rental, and one names
    # only the price of the stay.
    assert len([row for row in rows if row.price is None]) == 3
    assert len([row for row in rows if row.star_rating is None]) == 3
    assert len([row for row in rows if row.price_for == "stay"]) == 3
    assert await all_rows(gateway, query()) == rows


async def test_prices_can_fall_between_two_searches(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    (before, *_) = await all_rows(gateway, query())
    await sandbox.put("/sandbox/serpapi", {"price_factor": 0.8})

    (after, *_) = await all_rows(gateway, query())

    assert before.external_id == after.external_id
    assert before.price is not None
    assert after.price is not None
    assert float(after.price / before.price) == pytest.approx(0.8, abs=0.001)


async def test_details_describe_the_hotel_that_was_found(gateway: SerpApiGateway) -> None:
    (found, *_) = parse_page(await gateway.search_page(query(), None), query()).rows

    row = parse_details(await gateway.details(query(place="elsewhere"), found.external_id), query())

    assert row is not None
    assert (row.external_id, row.name, row.price) == (found.external_id, found.name, found.price)
    assert row.raw["phone"]


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        (
            {},
            {
                "engine": "google_hotels",
                "q": "Candolim, Goa, India",
                "check_in_date": "2030-01-10",
                "check_out_date": "2030-01-12",
                "adults": "2",
                "currency": "INR",
                "gl": "in",
                "hl": "en",
            },
        ),
        ({"children_ages": (0, 5)}, {"children": "2", "children_ages": "1,5"}),
        ({"stars": (5, 4, 5)}, {"hotel_class": "4,5"}),
        ({"stars": (1, 5)}, {"hotel_class": None}),
        ({"min_rating": 3.4}, {"rating": None}),
        ({"min_rating": 3.5}, {"rating": "7"}),
        ({"min_rating": 4.4}, {"rating": "8"}),
        ({"min_rating": 5}, {"rating": "9"}),
        (
            {"min_price": 1_000_000.0, "max_price": 2e6 + 0.5},
            {"min_price": "1000000", "max_price": "2000000.50"},
        ),
        ({"free_cancellation": True, "sort_by": "price"}, {"free_cancellation": "true", "sort_by": "3"}),
        ({"sort_by": "rating", "nationality": "FR"}, {"sort_by": "8", "gl": "fr"}),
    ],
)
async def test_a_query_becomes_the_providers_parameters(
    gateway: SerpApiGateway, fields: dict[str, Any], asked: dict[str, str | None]
) -> None:
    echo = (await gateway.search_page(query(**fields), None))["search_parameters"]

    assert {name: echo.get(name) for name in asked} == asked
    assert None not in echo.values()


async def test_unreadable_rows_are_counted(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/serpapi", {"nonsense_rows": 2})

    page = parse_page(await gateway.search_page(query(), None), query())

    assert (len(page.rows), page.unreadable) == (18, 2)


async def test_a_search_without_hotels_returns_an_empty_page(
    gateway: SerpApiGateway, sandbox: Sandbox
) -> None:
    page = parse_page(await gateway.search_page(query(place="Nowhere"), None), query())

    assert (page.rows, page.unreadable, page.next_page) == ((), 0, None)
    assert (await sandbox.books())["serpapi"]["searches"] == 1


async def test_the_account_reports_the_remaining_searches_free_of_charge(
    gateway: SerpApiGateway, sandbox: Sandbox
) -> None:
    await sandbox.put("/sandbox/serpapi", {"searches_left": 41})
    await gateway.search_page(query(), None)

    assert await gateway.account() == Account(searches_left=40, hourly_limit=1000, this_hour=1)
    assert await gateway.account() == Account(searches_left=40, hourly_limit=1000, this_hour=1)


async def test_an_account_without_the_remaining_searches_is_refused(
    gateway: SerpApiGateway, sandbox: Sandbox
) -> None:
    await sandbox.arm(service="serpapi", status=200, body='{"total_searches_left": "many"}')
    with pytest.raises(ProviderAway, match="how many searches are left"):
        await gateway.account()

    await sandbox.arm(service="serpapi", status=200, body='{"plan_searches_left": 7}')
    assert await gateway.account() == Account(searches_left=7, hourly_limit=None, this_hour=None)


async def test_a_provider_that_does_not_listen_counts_as_away(dead_url: str, pace: Pace) -> None:
    gateway = SerpApiGateway.from_settings(settings(dead_url, serpapi_key=KEY), pace)

    with pytest.raises(ProviderAway, match="ConnectError") as caught:
        await gateway.search_page(query(), None)
    await gateway.close()

    assert KEY not in everything_said(caught.value)


@pytest.mark.parametrize("fault", NO_ANSWER)
async def test_a_provider_that_does_not_answer_counts_as_away(
    keyed: SerpApiGateway, sandbox: Sandbox, pace: Pace, fault: dict[str, Any]
) -> None:
    gateway = SerpApiGateway.from_settings(
        settings(sandbox.url, serpapi_key=KEY, serpapi_deadline=IMPATIENT), pace
    )
    await sandbox.arm(service="serpapi", **fault)

    with pytest.raises(ProviderAway) as caught:
        await gateway.search_page(query(), None)
    await gateway.close()

    assert KEY not in everything_said(caught.value)


async def test_the_hourly_limit_is_waited_for(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/serpapi", {"hourly_limit_reached": True})

    with pytest.raises(ProviderBusy, match="429: Your account has reached its hourly") as caught:
        await gateway.search_page(query(), None)

    assert caught.value.wait_s(datetime.now(UTC)) == 600


async def test_no_request_follows_once_the_plan_is_used_up(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/serpapi", {"searches_left": 0})

    with pytest.raises(OutOfSearches, match="429: Your account has run out of searches"):
        await gateway.search_page(query(), None)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({"error": "Your account has run out of searches."}, OutOfSearches),
        ({"error": f"Invalid API key. Not {KEY}"}, ProviderRefused),
        ({"error": "Something that nobody has written down"}, ProviderAway),
        ({"search_metadata": {"status": "Error"}}, ProviderAway),
        ({"search_metadata": {"status": "Processing"}}, ProviderAway),
    ],
)
async def test_an_answer_with_status_200_may_report_a_failure(
    keyed: SerpApiGateway, sandbox: Sandbox, body: dict[str, Any], error: type[Exception]
) -> None:
    await sandbox.arm(service="serpapi", status=200, body=json.dumps(body))

    with pytest.raises(error) as caught:
        await keyed.search_page(query(), None)

    assert type(caught.value) is error
    assert KEY not in everything_said(caught.value)


async def test_a_refusal_contains_the_providers_own_words(gateway: SerpApiGateway) -> None:
    with pytest.raises(ProviderRefused, match="400: `children_ages` must be between 1 and 17"):
        await gateway.search_page(query(children_ages=(18,)), None)


async def test_a_wrong_key_is_refused(keyed: SerpApiGateway) -> None:
    with pytest.raises(ProviderRefused, match="401: Invalid API key"):
        await keyed.search_page(query(), None)
    with pytest.raises(ProviderRefused, match="401"):
        await keyed.account()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_key_that_is_repeated_by_the_provider_is_hidden(
    keyed: SerpApiGateway, sandbox: Sandbox, status: int
) -> None:
    await sandbox.arm(service="serpapi", status=status, body=json.dumps({"error": f"not with {KEY}!"}))

    with pytest.raises(ProviderRefused) as caught:
        await keyed.search_page(query(), None)

    assert str(caught.value) == f"SerpApi answered {status}: not with [hidden]!"
    assert KEY not in everything_said(caught.value)
    assert KEY not in repr(keyed)


async def test_a_key_that_is_repeated_in_an_answer_is_removed(
    keyed: SerpApiGateway, sandbox: Sandbox
) -> None:
    body = {"serpapi_pagination": {"next": f"/search?api_key={KEY}"}, "properties": [], "nul": "a\0b"}
    await sandbox.arm(service="serpapi", status=200, body=json.dumps(body))

    raw = await keyed.search_page(query(), None)

    assert raw["serpapi_pagination"] == {"next": "/search?api_key=[hidden]"}
    # The NUL character between `a` and `b` is removed, because jsonb cannot store it.
    assert raw["nul"] == "ab"


async def test_without_a_key_no_request_is_sent(sandbox: Sandbox, pace: Pace) -> None:
    gateway = SerpApiGateway.from_settings(settings(sandbox.url, serpapi_key=""), pace)

    assert not gateway.configured
    with pytest.raises(ProviderRefused, match="SERP_API_KEY is not set"):
        await gateway.search_page(query(), None)
    assert (await sandbox.books())["serpapi"]["refused"] == 0


async def test_a_provider_that_is_down_is_left_alone(gateway: SerpApiGateway, sandbox: Sandbox) -> None:
    counted = {outcome: _requests(outcome) for outcome in ("away", "resting")}
    await sandbox.arm(service="serpapi", status=503, times=None)
    for _ in range(FAILURES):
        with pytest.raises(ProviderAway):
            await gateway.search_page(query(), None)

    for _ in range(3):
        with pytest.raises(ProviderBusy, match="failed 5 times in a row"):
            await gateway.search_page(query(), None)

    assert await sandbox.happened() == {"serpapi 503": FAILURES}
    assert _requests("away") - counted["away"] == FAILURES
    assert _requests("resting") - counted["resting"] == 3
    assert value("often_outside_circuits_open", service="SerpApi") == 1


def _requests(outcome: str) -> float:
    return value("often_outside_requests_total", service="SerpApi", outcome=outcome)


async def test_refusals_do_not_open_the_circuit(keyed: SerpApiGateway, sandbox: Sandbox) -> None:
    for _ in range(FAILURES + 2):
        with pytest.raises(ProviderRefused):
            await keyed.search_page(query(), None)

    assert (await sandbox.books())["serpapi"]["refused"] == FAILURES + 2


async def test_two_workers_share_one_limit(sandbox: Sandbox, shared_paces: list[Pace]) -> None:
    async with AsyncExitStack() as closing:
        first, second = [
            SerpApiGateway.from_settings(settings(sandbox.url, serpapi_rate="3/hour"), pace)
            for pace in shared_paces
        ]
        closing.push_async_callback(first.close)
        closing.push_async_callback(second.close)
        for gateway in (first, second, first):
            await gateway.search_page(query(), None)

        for gateway in (first, second):
            with pytest.raises(ProviderBusy, match="the limit of 3/hour"):
                await gateway.search_page(query(), None)

    assert (await sandbox.books())["serpapi"]["searches"] == 3


async def test_requests_above_the_rate_wait_for_their_turn(
    sandbox: Sandbox, shared_paces: list[Pace]
) -> None:
    async with AsyncExitStack() as closing:
        gateways = [
            SerpApiGateway.from_settings(settings(sandbox.url, serpapi_rate="10/second"), pace)
            for pace in shared_paces
        ]
        for gateway in gateways:
            closing.push_async_callback(gateway.close)
        began = time.monotonic()

        await asyncio.gather(*(gateways[number % 2].account() for number in range(30)))

        # Ten of the 30 searches may start at once, and the others at ten per second. A sliding
        # window is not exact, so they may take less than 2 s.
        assert time.monotonic() - began > 1.2
    assert (await sandbox.books())["serpapi"]["account_requests"] == 30


LOGGING_PROCESS = """
import asyncio, logging
from services.worker.hotel.gateways.provider import Pace
from services.worker.hotel.gateways.serpapi import SerpApiGateway
from shared.hotel.settings import HotelSettings
from shared.settings import read
from shared.telemetry.logging import configure
from tests.hotel_queries import query

async def ask(environ):
    configure("worker", "text")
    gateway = SerpApiGateway.from_settings(read(environ, needs=()).of(HotelSettings), Pace(""))
    try:
        await gateway.search_page(query(), None)
    except Exception:
        logging.getLogger("test").exception("it failed")
    await gateway.close()

import os
asyncio.run(ask({name: os.environ[name] for name in ("SERP_API_KEY", "SERP_API_BASE_URL")}))
"""


async def test_no_log_line_of_a_worker_contains_the_key(sandbox: Sandbox) -> None:
    environment = {**os.environ, "SERP_API_KEY": KEY, "SERP_API_BASE_URL": f"{sandbox.url}/serpapi"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LOGGING_PROCESS, cwd=ROOT, env=environment, stderr=subprocess.PIPE
    )
    _, log = await process.communicate()

    assert "SerpApi answered 401: Invalid API key" in log.decode()
    assert KEY not in log.decode()
