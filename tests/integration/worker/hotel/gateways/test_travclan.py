"""Tests of the gateway to TravClan, over real sockets: tokens, pages of results, and each kind of
failure.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from local.sandbox.travclan import EXPIRED
from services.worker.hotel.gateways.circuits import FAILURES
from services.worker.hotel.gateways.hotel_page import HotelRow
from services.worker.hotel.gateways.provider import (
    Pace,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from services.worker.hotel.gateways.travclan import TravClanGateway, parse_page, parse_rooms
from shared.hotel.settings import HotelSettings
from tests.eventually import eventually
from tests.hotel_queries import query
from tests.integration.worker.hotel.gateways.failures import IMPATIENT, NO_ANSWER, everything_said
from tests.sandbox import Sandbox

#: API key for tests that check that no error contains the key. The usual key "sandbox" is too
#: common a word to search for.
KEY = "key-that-nobody-may-see"
#: The first refresh token and the first access token that the sandbox issues.
REFRESH_TOKEN, ACCESS_TOKEN = "made-up-refresh-1", "made-up-access-2"
GOA = 1


def settings(url: str, **fields: Any) -> HotelSettings:
    given = {
        "travclan_api_key": "sandbox",
        "travclan_merchant_id": "sandbox",
        "travclan_user_id": "sandbox",
        "travclan_auth_url": f"{url}/travclan/auth",
        "travclan_hotel_url": f"{url}/travclan/hotel",
        "travclan_volt_url": f"{url}/travclan/volt",
        "travclan_rate": "1000/second",
    }
    return HotelSettings(**given | fields)


@pytest.fixture
async def gateway(sandbox: Sandbox, pace: Pace) -> AsyncIterator[TravClanGateway]:
    gateway = TravClanGateway.from_settings(settings(sandbox.url, travclan_deadline=IMPATIENT), pace)
    yield gateway
    await gateway.close()


async def books(sandbox: Sandbox) -> dict[str, Any]:
    of_travclan: dict[str, Any] = (await sandbox.books())["travclan"]
    return of_travclan


async def test_pages_are_read_to_the_end(gateway: TravClanGateway, sandbox: Sandbox) -> None:
    location = await gateway.find_location("Goa")
    assert location is not None
    rows: list[HotelRow] = []
    page: str | None = None
    traces = set()
    while True:
        raw = await gateway.search_page(query(), location, page)
        found = parse_page(raw, query(), page)
        rows += found.rows
        traces.add(raw["results"]["traceId"])
        page = found.next_page
        if page is None:
            break

    assert len({row.external_id for row in rows}) == 45
    assert len([row for row in rows if row.price is None]) == 5
    assert {row.price_for for row in rows} == {"stay"}
    assert len(traces) == 1
    written = await books(sandbox)
    assert written["searches_by_location"] == {str(location): 3}
    assert written["logins"] == 1


async def test_an_area_is_found_instead_of_a_hotel_with_its_name(gateway: TravClanGateway) -> None:
    found = await gateway.find_location("Goa")

    assert found is not None
    assert found == await gateway.find_location("Goa")
    assert await gateway.find_location("Nowhere") is None


@pytest.mark.parametrize(
    "body",
    [
        [{"id": 3, "type": "Hotel"}, {"id": 5, "type": "city"}],
        {"data": [{"id": "5", "type": "City"}, {"id": 5, "type": "State"}]},
        {"results": {"data": ["?", {"id": 5.5, "type": "Area"}, {"id": 4}, {"id": 5, "type": "Area"}]}},
    ],
)
async def test_areas_are_found_in_any_wrapping(gateway: TravClanGateway, sandbox: Sandbox, body: Any) -> None:
    await sandbox.arm(service="travclan", path="/locations", status=200, body=json.dumps(body))

    assert await gateway.find_location("Goa") == 5


async def test_rooms_and_description_of_a_hotel(gateway: TravClanGateway, sandbox: Sandbox) -> None:
    raw = await gateway.search_page(query(), GOA, None)
    (hotel, *_) = parse_page(raw, query(), None).rows
    await sandbox.put("/sandbox/travclan", {"nonsense_rows": 1})

    offers = parse_rooms(await gateway.rooms(hotel.external_id, raw["results"]["traceId"]))
    description = await gateway.static_content(hotel.external_id)

    assert [(offer.option_id, offer.room_name, offer.board) for offer in offers] == [
        ("option-0", "Double room", "Room only"),
        ("option-1", "Suite", "Bed and breakfast"),
    ]
    assert description["results"]["name"] == hotel.name


async def test_unreadable_rows_are_counted(gateway: TravClanGateway, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/travclan", {"nonsense_rows": 2})

    page = parse_page(await gateway.search_page(query(), GOA, "3:"), query(), "3:")

    assert (len(page.rows), page.unreadable, page.next_page) == (5, 2, None)


async def test_a_search_without_hotels_returns_an_empty_page(gateway: TravClanGateway) -> None:
    page = parse_page(await gateway.search_page(query(), GOA, "9:"), query(), "9:")

    assert (page.rows, page.unreadable, page.next_page) == ((), 0, None)


async def test_ten_calls_at_once_log_in_once(gateway: TravClanGateway, sandbox: Sandbox) -> None:
    await asyncio.gather(*(gateway.search_page(query(), GOA, None) for _ in range(10)))

    written = await books(sandbox)
    assert (written["logins"], written["searches"]) == (1, 10)


async def test_a_token_that_expires_is_refreshed_once_for_all_calls(
    gateway: TravClanGateway, sandbox: Sandbox
) -> None:
    await gateway.find_location("Goa")
    await sandbox.put("/sandbox/travclan", {"expire_tokens": True})

    await asyncio.gather(*(gateway.search_page(query(), GOA, None) for _ in range(10)))

    written = await books(sandbox)
    assert (written["logins"], written["refreshes"], written["searches"]) == (1, 1, 10)


@pytest.mark.parametrize(
    "trouble",
    [
        {"status": 401, "body": '{"message": "Invalid refresh token"}'},
        {"status": 503},
        {"status": 200, "body": "{}"},
        {"status": 200, "body": "?"},
        {"drop": "before"},
    ],
)
async def test_a_token_that_cannot_be_refreshed_is_replaced_by_a_new_login(
    gateway: TravClanGateway, sandbox: Sandbox, trouble: dict[str, Any]
) -> None:
    await gateway.find_location("Goa")
    await sandbox.put("/sandbox/travclan", {"expire_tokens": True})
    await sandbox.arm(service="travclan", path="/refresh", **trouble)

    await gateway.search_page(query(), GOA, None)

    written = await books(sandbox)
    assert (written["logins"], written["searches"]) == (2, 1)


async def test_a_token_is_renewed_before_it_expires(gateway: TravClanGateway, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/travclan", {"expiry": {"expires_in": "1"}})

    async def refreshed() -> bool:
        await gateway.find_location("Goa")
        return bool((await books(sandbox))["refreshes"])

    await eventually(refreshed)

    assert (await books(sandbox))["refused"] == 0


@pytest.mark.parametrize("expiry", [{}, {"ExpiresIn": 30}])
async def test_a_token_with_an_unknown_or_short_lifetime_is_used_more_than_once(
    gateway: TravClanGateway, sandbox: Sandbox, expiry: dict[str, float]
) -> None:
    await sandbox.put("/sandbox/travclan", {"expiry": expiry})

    for _ in range(3):
        await gateway.find_location("Goa")

    written = await books(sandbox)
    assert (written["logins"], written["refreshes"]) == (1, 0)


@pytest.mark.parametrize(
    "body",
    [
        EXPIRED,
        {"error": {"errors": ["Token Expired. Unauthorized"]}},
        {"error": {"message": "Unauthorized"}},
        {"message": "token expired"},
    ],
)
async def test_a_rejected_token_is_renewed_once_and_the_call_repeated_once(
    gateway: TravClanGateway, sandbox: Sandbox, body: dict[str, Any]
) -> None:
    await sandbox.arm(service="travclan", path="/search", status=401, body=json.dumps(body), times=None)

    with pytest.raises(ProviderRefused, match="401"):
        await gateway.search_page(query(), GOA, None)

    assert await sandbox.happened() == {"travclan 401": 2}
    written = await books(sandbox)
    assert (written["logins"], written["refreshes"]) == (1, 1)


async def test_a_401_for_another_reason_does_not_renew_the_token(
    gateway: TravClanGateway, sandbox: Sandbox
) -> None:
    await sandbox.arm(service="travclan", path="/search", status=401, body='{"message": "Suspended"}')

    with pytest.raises(ProviderRefused, match="401: Suspended"):
        await gateway.search_page(query(), GOA, None)

    assert (await books(sandbox))["refreshes"] == 0


@pytest.mark.parametrize("status", [401, 403])
async def test_wrong_credentials_are_refused(sandbox: Sandbox, pace: Pace, status: int) -> None:
    gateway = TravClanGateway.from_settings(settings(sandbox.url, travclan_api_key=KEY), pace)
    body = json.dumps({"message": f"no merchant has {KEY}"})
    await sandbox.arm(service="travclan", path="/login", status=status, body=body)

    with pytest.raises(ProviderRefused, match="no merchant has") as caught:
        await gateway.find_location("Goa")
    with pytest.raises(ProviderRefused, match="401: Invalid credentials"):
        await gateway.find_location("Goa")
    await gateway.close()

    assert KEY not in everything_said(caught.value)
    assert KEY not in repr(gateway)


async def test_tokens_that_are_repeated_by_the_provider_are_hidden(
    gateway: TravClanGateway, sandbox: Sandbox
) -> None:
    body = json.dumps({"error": {"message": "no", "errors": [f"not with {ACCESS_TOKEN} {REFRESH_TOKEN}"]}})
    await sandbox.arm(service="travclan", path="/search", status=400, body=body)

    with pytest.raises(ProviderRefused) as caught:
        await gateway.search_page(query(), GOA, None)

    assert str(caught.value) == "TravClan answered 400: no; not with [hidden] [hidden]"
    assert ACCESS_TOKEN not in everything_said(caught.value)


async def test_a_provider_that_does_not_listen_counts_as_away(dead_url: str, pace: Pace) -> None:
    gateway = TravClanGateway.from_settings(settings(dead_url), pace)

    with pytest.raises(ProviderAway, match="ConnectError"):
        await gateway.find_location("Goa")
    await gateway.close()


@pytest.mark.parametrize("path", ["/login", "/search"])
@pytest.mark.parametrize("fault", NO_ANSWER)
async def test_a_provider_that_does_not_answer_counts_as_away(
    gateway: TravClanGateway, sandbox: Sandbox, path: str, fault: dict[str, Any]
) -> None:
    await sandbox.arm(service="travclan", path=path, **fault)

    with pytest.raises(ProviderAway):
        await gateway.search_page(query(), GOA, None)


async def test_an_answer_with_status_200_may_report_a_failure(
    gateway: TravClanGateway, sandbox: Sandbox
) -> None:
    body = '{"error": {"message": "Supplier timed out"}}'
    await sandbox.arm(service="travclan", path="/search", status=200, body=body)

    with pytest.raises(ProviderAway, match="200: Supplier timed out"):
        await gateway.search_page(query(), GOA, None)


async def test_a_refusal_contains_the_providers_own_words(gateway: TravClanGateway) -> None:
    with pytest.raises(ProviderRefused, match="404: Hotel not found"):
        await gateway.static_content("no-such?hotel")
    with pytest.raises(ProviderRefused, match="400: traceId is not known"):
        await gateway.rooms("1-1", "no such trace")


@pytest.mark.parametrize(("headers", "wait_s"), [({"retry-after": "7"}, 7), ({"retry-after": "soon"}, 60)])
async def test_too_many_requests_are_retried_later(
    gateway: TravClanGateway, sandbox: Sandbox, headers: dict[str, str], wait_s: float
) -> None:
    await sandbox.arm(service="travclan", path="/search", status=429, headers=headers)

    with pytest.raises(ProviderBusy, match="429") as caught:
        await gateway.search_page(query(), GOA, None)

    assert caught.value.wait_s(datetime.now(UTC)) == wait_s


@pytest.mark.parametrize("missing", ["travclan_api_key", "travclan_merchant_id", "travclan_user_id"])
async def test_without_credentials_no_request_is_sent(sandbox: Sandbox, pace: Pace, missing: str) -> None:
    gateway = TravClanGateway.from_settings(settings(sandbox.url, **{missing: ""}), pace)

    assert not gateway.configured
    with pytest.raises(ProviderRefused, match="are not all set"):
        await gateway.find_location("Goa")
    assert (await books(sandbox))["logins"] == 0


async def test_only_the_host_that_is_down_gets_no_requests_for_a_while(
    gateway: TravClanGateway, sandbox: Sandbox
) -> None:
    await sandbox.arm(service="travclan", path="/volt/", status=502, times=None)
    for _ in range(FAILURES):
        with pytest.raises(ProviderAway):
            await gateway.search_page(query(), GOA, None)

    with pytest.raises(ProviderBusy, match="failed 5 times in a row"):
        await gateway.search_page(query(), GOA, None)

    assert await sandbox.happened() == {"travclan 502": FAILURES}
    assert await gateway.find_location("Goa") is not None
