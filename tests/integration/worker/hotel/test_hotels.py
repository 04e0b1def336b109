"""Tests of searching, scanning and synchronizing hotels, with real workers and simulated providers
over real sockets.
"""

import email
import email.policy
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from local import mail as catcher
from local import outside
from services.worker.hotel import hotel_store
from services.worker.hotel.gateways.hotel_page import HotelRow
from services.worker.hotel.hotel_store import Sight
from shared.hotel.contracts.hotels import (
    SCAN_DESTINATION,
    SEARCH,
    SUMMARISE_TRACKING,
    SYNC,
    SYNC_BATCH,
    Filters,
    ScanDestination,
    SearchHotels,
    SummariseTracking,
    SyncHotelBatch,
    SyncHotels,
)
from shared.hotel.contracts.scans import SCAN_DESTINATIONS, ScanDestinations
from shared.hotel.workflows.scan import scan as scan_of
from shared.ledger.ids import uuid7
from tests.integration.workflows.plays import finished, results, submit
from tests.platform import VAPID_PRIVATE_KEY, Platform
from tests.sandbox import Sandbox

TODAY = datetime.now(UTC).date()


def settings(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """Settings that make a worker use the sandbox (the simulated outside services)."""
    return outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment | more


async def destination(platform: Platform, name: str = "Goa", *, tracking: bool = True) -> int:
    (country,) = await platform.rows(
        "INSERT INTO country (code, name) VALUES ('IN', 'India')"
        " ON CONFLICT (code) DO UPDATE SET name = excluded.name RETURNING id"
    )
    (row,) = await platform.rows(
        "INSERT INTO destination (country, name, slug, tracking, tracking_days)"
        " VALUES ({}, {}, lower({}), {}, 2) RETURNING id",
        *(country["id"], name, name, tracking),
    )
    return int(row["id"])


async def account(
    platform: Platform, address: str = "asha@often-hotels.example", *, verified: bool = True
) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash, full_name, verified_at)"
        " VALUES ({}, '-', 'Asha', CASE WHEN {}::boolean THEN now() END) RETURNING id",
        *(address, verified),
    )
    return int(row["id"])


def search(user: int, **more: Any) -> SearchHotels:
    stay = {"check_in": TODAY + timedelta(days=7), "check_out": TODAY + timedelta(days=9)}
    return SearchHotels(user_id=user, destination="Goa", **{**stay, **more})


async def test_a_search_reads_every_provider_page_by_page_and_stores_the_hotels(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    (task_id,) = await platform.submit(SEARCH, search(user, children=1, children_ages=[4]), owner=user)
    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    found = json.loads(row["result"])
    assert {name: report["pages"] for name, report in found["providers"].items()} == {
        "serpapi": 2,
        "travclan": 2,
    }
    assert row["progress_total"] == 4
    priced = [hotel for hotel in found["hotels"] if hotel["price"]]
    assert len(priced) > 20
    assert {hotel["price_for"] for hotel in priced if hotel["provider"] == "travclan"} == {"stay"}
    stored = await platform.rows("SELECT id, provider, external_id, name FROM hotel ORDER BY id")
    assert {h["id"] for h in found["hotels"]} == {h["id"] for h in stored}
    observed = await platform.rows("SELECT * FROM price_observation")
    assert len(observed) == sum(hotel["price_for"] == "night" for hotel in priced)
    assert {(o["check_in"], o["check_out"], o["observed_on"], o["source"]) for o in observed} == {
        (TODAY + timedelta(days=7), TODAY + timedelta(days=9), TODAY, "serpapi")
    }


async def test_a_search_applies_filters_that_a_provider_ignores(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    wanted = search(await account(platform), filters=Filters(stars=[1, 5], min_rating=4.2, max_price=12_000))
    (task_id,) = await platform.submit(SEARCH, wanted)
    found = json.loads((await platform.until(task_id, "success"))["result"])["hotels"]
    # The provider TravClan gives no ratings, so the filter by rating excludes its hotels.
    assert {hotel["provider"] for hotel in found} == {"serpapi"}
    assert {hotel["star_rating"] for hotel in found} == {5}
    assert min(hotel["guest_rating"] for hotel in found) >= 4.2
    assert max(hotel["price"] for hotel in found if hotel["price_for"] == "night") <= 12_000


async def test_a_search_for_the_name_of_a_hotel_finds_this_hotel(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox, TRAVCLAN_API_KEY=""))
    user = await account(platform)
    (task_id,) = await platform.submit(SEARCH, search(user, max_pages=1))
    known, *_ = json.loads((await platform.until(task_id, "success"))["result"])["hotels"]
    wanted = SearchHotels(
        user_id=user,
        destination=known["name"],
        check_in=TODAY + timedelta(days=7),
        check_out=TODAY + timedelta(days=9),
    )
    (task_id,) = await platform.submit(SEARCH, wanted)
    found = json.loads((await platform.until(task_id, "success"))["result"])
    assert [(hotel["id"], hotel["price"]) for hotel in found["hotels"]] == [(known["id"], known["price"])]


async def test_the_same_search_within_the_hour_costs_nothing(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    for _ in range(2):
        (task_id,) = await platform.submit(SEARCH, search(user))
        await platform.until(task_id, "success")
    assert (await sandbox.books())["serpapi"]["searches"] == 2
    (budget,) = await platform.rows("SELECT searches_left FROM provider_account")
    assert budget["searches_left"] > 0


async def test_a_search_succeeds_although_one_provider_refuses(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox, SERP_API_KEY="another"))
    (task_id,) = await platform.submit(SEARCH, search(await account(platform)))
    found = json.loads((await platform.until(task_id, "success"))["result"])
    assert "Invalid API key" in found["providers"]["serpapi"]["error"]
    assert found["providers"]["travclan"]["error"] is None
    assert found["hotels_found"] > 0


async def test_a_search_that_no_provider_answers_fails_with_the_reason(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox, SERP_API_KEY="another", TRAVCLAN_API_KEY="another"))
    (task_id,) = await platform.submit(SEARCH, search(await account(platform)))
    row = await platform.until(task_id, "failure")
    assert row["failures"] == 1
    assert "serpapi: " in row["error_message"]
    assert "travclan: " in row["error_message"]


async def test_unreadable_rows_of_a_provider_are_counted_and_not_guessed_at(
    platform: Platform, sandbox: Sandbox
) -> None:
    await sandbox.put("/sandbox/serpapi", {"nonsense_rows": 3})
    await platform.start_worker(**settings(sandbox))
    (task_id,) = await platform.submit(SEARCH, search(await account(platform), max_pages=1))
    found = json.loads((await platform.until(task_id, "success"))["result"])
    assert found["providers"]["serpapi"]["unreadable"] == 3
    (kept,) = await platform.rows("SELECT body FROM provider_answer")
    assert len(json.loads(kept["body"])["properties"]) >= 3


async def test_a_price_that_fell_since_yesterday_sends_one_mail(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        port = str(server.sockets[0].getsockname()[1])
        await platform.start_worker(**settings(sandbox, SMTP_HOST=catcher.HOST, SMTP_PORT=port))
        await platform.start_scheduler()
        place = await destination(platform)
        first = await scan(platform, place, TODAY)
        assert first["price_records_created"] > 10
        assert (first["price_drops"], first["alerts_raised"]) == (0, 0)
        user = await account(platform)
        # Prices of this hotel were observed for two check-in days, so the lower price is stored as
        # two price drops.
        (hotel,) = await platform.rows(
            "SELECT hotel, h.name FROM price_observation o JOIN hotel h ON h.id = o.hotel"
            " WHERE check_in = {} ORDER BY o.id LIMIT 1",
            TODAY + timedelta(days=1),
        )
        unverified = await account(platform, "li@often-hotels.example", verified=False)
        for watcher in (user, unverified):
            watch = 'INSERT INTO price_alert ("user", hotel) VALUES ({}, {})'
            await platform.rows(watch, watcher, hotel["hotel"])

        await sandbox.put("/sandbox/serpapi", {"price_factor": 0.8})
        second = await scan(platform, place, TODAY + timedelta(days=1))
        again = await scan(platform, place, TODAY + timedelta(days=1))

        assert second["price_drops"] > 5
        assert (second["alerts_raised"], again["alerts_raised"]) == (1, 0)
        (mail,) = await platform.rows("SELECT id FROM task WHERE name = 'email.send_price_alert'")
        await platform.until(mail["id"], "success")
    (caught,) = [
        email.message_from_bytes(f.read_bytes(), policy=email.policy.default) for f in folder.iterdir()
    ]
    assert caught["To"] == "Asha <asha@often-hotels.example>"
    text = caught.get_body(("plain",))
    assert text is not None
    assert hotel["name"] in text.get_content()
    (logged,) = await platform.rows("SELECT * FROM notification_log")
    assert (logged["channel"], logged["status"], logged["target"]) == (
        "email",
        "sent",
        "asha@often-hotels.example",
    )


async def scan(platform: Platform, place: int, observed_on: date) -> dict[str, Any]:
    """Run a scan of a destination, which must succeed. Returns its result."""
    params = ScanDestination(destination_id=place, observed_on=observed_on)
    (task_id,) = await platform.submit(SCAN_DESTINATION, params)
    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    result: dict[str, Any] = json.loads(row["result"])
    return result


async def test_a_scan_that_was_interrupted_pays_for_no_page_twice(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    await platform.start_scheduler()
    await sandbox.arm(service="serpapi", path="search", status=503, skip=3)
    place = await destination(platform)
    result = await scan(platform, place, TODAY)
    (pages,) = await platform.rows("SELECT count(*) AS n FROM provider_answer")
    assert (await sandbox.happened()) == {"serpapi 503": 1}
    assert (await sandbox.books())["serpapi"]["searches"] == pages["n"] > 3
    assert result["hotels_discovered"] > 5


async def test_a_synchronisation_that_was_interrupted_pays_for_no_hotel_twice(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    await platform.start_scheduler()
    (task_id,) = await platform.submit(SEARCH, search(await account(platform), max_pages=1))
    await platform.until(task_id, "success")
    hotels = await platform.rows("SELECT id FROM hotel WHERE provider = 'serpapi' ORDER BY id LIMIT 5")
    await sandbox.arm(service="serpapi", path="search", status=503, skip=3)
    # A rule in Postgres that turns off the cache of answers. The task must not rely on the cache,
    # because it may have expired when a retry runs.
    await platform.rows("CREATE RULE forget AS ON INSERT TO provider_answer DO INSTEAD NOTHING")
    ids = [row["id"] for row in hotels]
    (task_id,) = await platform.submit(SYNC_BATCH, SyncHotelBatch(hotel_ids=ids))
    row = await platform.until(task_id, "success", "failure")
    assert (row["status"], row["attempt"]) == ("success", 2), row["error_message"]
    assert json.loads(row["result"])["hotels_updated"] == 5
    assert await sandbox.happened() == {"serpapi 503": 1}
    assert (await sandbox.books())["serpapi"]["details"] == 5


async def test_scans_leave_the_reserve_of_the_plan_to_users(platform: Platform, sandbox: Sandbox) -> None:
    await sandbox.put("/sandbox/serpapi", {"searches_left": 10})
    await platform.start_worker(**settings(sandbox, OFTEN_SERPAPI_RESERVE="10"))
    (task_id,) = await platform.submit(
        SCAN_DESTINATION, ScanDestination(destination_id=await destination(platform))
    )
    row = await platform.until(task_id, "failure")
    assert "10 searches are left" in row["error_message"]
    assert "OFTEN_SERPAPI_RESERVE" in row["error_message"]
    (task_id,) = await platform.submit(SEARCH, search(await account(platform)))
    assert (await platform.until(task_id, "success", "failure"))["status"] == "success"


async def test_a_failed_destination_is_named_and_does_not_fail_the_whole_scan(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    places = [await destination(platform), 10**9, await destination(platform, "Kochi")]
    workflow = await submit(platform, scan_of(places))
    assert (await finished(platform, workflow))["status"] == "success"
    summary = (await results(platform, workflow))["summary"]
    assert (summary["success"], summary["destinations_found"]) == (False, 3)
    assert summary["destinations_processed"] == 2
    assert summary["price_records_created"] > 0
    ((error,),) = [summary["errors"]]
    assert error["destination_id"] == 10**9
    assert "does not exist" in error["error"]


async def test_each_tracked_destination_is_scanned_and_synchronized_by_its_own_task(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    await destination(platform)
    await destination(platform, "Kochi")
    await destination(platform, "Jaipur", tracking=False)
    (task_id,) = await platform.submit(SCAN_DESTINATIONS, ScanDestinations())
    result = json.loads((await platform.until(task_id, "success"))["result"])
    assert (result["destinations_found"], result["destinations_submitted"]) == (2, 2)
    (flow,) = await platform.rows("SELECT id FROM workflow WHERE parent = {}", task_id)
    assert result["workflow_id"] == str(flow["id"])
    await platform.start_scheduler()
    assert (await finished(platform, flow["id"]))["status"] == "success"
    summary = (await results(platform, flow["id"]))["summary"]
    assert (summary["destinations_processed"], summary["errors"]) == (2, [])

    (task_id,) = await platform.submit(SYNC, SyncHotels(batch_size=10))
    result = json.loads((await platform.until(task_id, "success"))["result"])
    batches = await platform.rows("SELECT id FROM task WHERE parent = {}", task_id)
    assert len(batches) == result["batches_submitted"] == -(-result["total_hotels"] // 10)
    ended = await platform.all_final([row["id"] for row in batches])
    assert {row["status"] for row in ended} == {"success"}
    (left,) = await platform.rows("SELECT count(*) AS n FROM hotel WHERE synced_at IS NULL")
    assert left["n"] == 0

    (task_id,) = await platform.submit(SUMMARISE_TRACKING, SummariseTracking())
    summary = json.loads((await platform.until(task_id, "success"))["result"])["summary"]
    assert summary["tracking_enabled_destinations"] == 2
    assert summary["statistics"]["price_records_last_24h"] > 0


@pytest.mark.parametrize(
    ("prepare", "error"),
    [
        ("DELETE FROM destination", "does not exist"),
        ("UPDATE destination SET tracking = false", "not tracked"),
    ],
)
async def test_a_destination_that_cannot_be_scanned_fails_with_the_reason(
    platform: Platform, sandbox: Sandbox, prepare: str, error: str
) -> None:
    await platform.start_worker(**settings(sandbox))
    place = await destination(platform)
    await platform.rows(prepare)
    (task_id,) = await platform.submit(SCAN_DESTINATION, ScanDestination(destination_id=place))
    assert error in (await platform.until(task_id, "failure"))["error_message"]


def row(price: str, **more: Any) -> HotelRow:
    known = {"external_id": "sea", "name": "Sea View", "currency": "INR", "price_for": "night", "raw": {}}
    return HotelRow(**{**known, "price": Decimal(price), **more})


async def see(platform: Platform, price: str, observed_on: date, **more: Any) -> dict[str, Any]:
    """Store the price of one stay as observed on this day. Returns the stored row."""
    sight = Sight(TODAY, TODAY + timedelta(days=1), observed_on, uuid7(datetime.now(UTC)))
    seen = row(price, **more)
    ids = await hotel_store.keep_hotels(platform.database, "serpapi", [seen])
    await hotel_store.keep_prices(platform.database, "serpapi", [seen], ids, sight)
    (stored,) = await platform.rows(
        "SELECT price, previous_price, previous_on, change_percent FROM price_observation"
        " WHERE observed_on = {} AND currency = {}",
        *(observed_on, seen.currency),
    )
    return {
        name: value if isinstance(value, date) else value and float(value) for name, value in stored.items()
    }


async def test_a_change_is_computed_against_the_last_earlier_day_in_the_same_currency(
    platform: Platform,
) -> None:
    days = [TODAY - timedelta(days=back) for back in (5, 3, 0)]
    first = await see(platform, "100", days[0])
    assert (first["previous_price"], first["change_percent"]) == (None, None)
    second = await see(platform, "80", days[1])
    assert (second["previous_on"], second["change_percent"]) == (days[0], -20)
    corrected = await see(platform, "90", days[1])
    assert (corrected["price"], corrected["change_percent"]) == (90, -10)
    third = await see(platform, "99", days[2])
    assert (third["previous_price"], third["change_percent"]) == (90, 10)
    (count,) = await platform.rows("SELECT count(*) AS n FROM price_observation")
    assert count["n"] == 3
