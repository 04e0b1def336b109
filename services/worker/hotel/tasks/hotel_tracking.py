"""Bodies of the tasks of the daily price scan.

If a price has fallen, they also submit the mails about it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from services.worker.hotel import hotel_store
from services.worker.hotel.gateways.hotel_page import HotelQuery, HotelRow
from services.worker.hotel.hotel_store import Place, Sight
from services.worker.hotel.searches import PROVIDER, SerpApiSearches
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import hotels, pricing, tracking
from shared.hotel.contracts.email import SEND_PRICE_ALERT, PriceAlert, SendPriceAlert
from shared.hotel.contracts.hotels import (
    SCAN_DESTINATION,
    SUMMARISE_TRACKING,
    DestinationScanned,
    ScanDestination,
    SummariseTracking,
    TrackingSummarised,
)
from shared.hotel.contracts.scans import (
    SCAN_DESTINATIONS,
    SUMMARIZE_SCAN,
    DestinationFailed,
    DestinationsScanned,
    ScanDestinations,
    ScanSummarized,
    SummarizeScan,
)
from shared.hotel.workflows.scan import scan

#: Names for the kinds of tasks in the results. The application that this platform replaced used
#: them.
SCAN, SINGLE, SUMMARY = "hotel_tracking_scan", "single_destination_tracking", "tracking_summary"
NIGHT = timedelta(days=tracking.STAY_NIGHTS)


@dataclass(frozen=True, slots=True)
class _Search:
    """A search for hotels in one place and for one stay."""

    query: HotelQuery
    place: Place


@task(SCAN_DESTINATIONS)
async def scan_destinations(context: TaskContext, params: ScanDestinations) -> DestinationsScanned:
    """Submit a workflow that scans the prices of all tracked destinations.

    The workflow is stored in the transaction that records this task's success.
    """
    tracked = [row["id"] for row in await context.database.run(hotels.TRACKED_DESTINATIONS)]
    async with context.transaction() as transaction:
        result = DestinationsScanned(
            success=True,
            task_type=SCAN,
            destinations_found=len(tracked),
            destinations_submitted=len(tracked),
            workflow_id=await context.start(scan(tracked)) if tracked else None,
            completed_at=datetime.now(UTC),
        )
        await context.complete_in(transaction, result)
    return result


@task(SUMMARIZE_SCAN)
def summarize_scan(context: TaskContext, params: SummarizeScan) -> ScanSummarized:
    """Sum the results of the scans of all destinations, and list the destinations whose scan
    failed.
    """
    pairs = list(zip(params.destination_ids, params.scans, strict=True))
    results = [each.result for each in params.scans if each.status == "success"]
    found = msgspec.convert(results, list[DestinationScanned])
    errors = [
        DestinationFailed(destination_id=destination, error=each.error_message or f"it is {each.status}")
        for destination, each in pairs
        if each.status != "success"
    ]
    for failed in errors:
        fields = {"destination_id": failed.destination_id}
        context.log.warning("a destination was not scanned: %s", failed.error, extra=fields)
    return ScanSummarized(
        success=not errors,
        task_type=SCAN,
        destinations_found=len(pairs),
        destinations_processed=len(found),
        hotels_discovered=sum(each.hotels_discovered for each in found),
        price_records_created=sum(each.price_records_created for each in found),
        price_drops=sum(each.price_drops for each in found),
        alerts_raised=sum(each.alerts_raised for each in found),
        errors=errors,
        completed_at=datetime.now(UTC),
    )


@task(SCAN_DESTINATION)
async def scan_destination(context: TaskContext, params: ScanDestination) -> DestinationScanned:
    """Record the prices of one destination for the coming days.

    If a price has fallen, the mail about it is submitted together with this task's success. An
    error fails the attempt. The next attempt finds the pages that were already read in the cache
    and continues from there.
    """
    places = await context.database.run(hotels.SEARCHED_PLACES, params.destination_id)
    if not places:
        raise PermanentError(f"destination {params.destination_id} does not exist")
    destination = places[0]
    if not (destination["tracking"] and destination["is_active"]):
        name = destination["name"]
        raise PermanentError(
            f"destination {name} cannot be scanned: it is inactive, or its prices are not tracked"
        )
    observed_on = params.observed_on or datetime.now(UTC).date()
    days = params.days or destination["tracking_days"] or tracking.DEFAULT_DAYS
    searches = list(_searches(places, observed_on, days))
    seen, unreadable = set[int](), 0
    for number, search in enumerate(searches, 1):
        rows, bad = await _rows(context, search.query, observed_on)
        seen |= await _record(context, search, rows, observed_on)
        unreadable += bad
        said = f"{search.query.place}, {search.query.check_in}: {len(rows)} hotels"
        context.progress(number, len(searches), said)
    (counts,) = await context.database.run(pricing.COUNTS_OF_TASK, context.id)
    async with context.transaction() as transaction:
        alerts = await _raise_alerts(context)
        result = DestinationScanned(
            success=True,
            task_type=SINGLE,
            destination_id=params.destination_id,
            destination_name=destination["name"],
            tracking_days=days,
            hotels_discovered=len(seen),
            price_records_created=counts["records"],
            price_drops=counts["drops"],
            alerts_raised=alerts,
            unreadable=unreadable,
            completed_at=datetime.now(UTC),
        )
        await context.complete_in(transaction, result)
    return result


@task(SUMMARISE_TRACKING)
async def summarise(context: TaskContext, params: SummariseTracking) -> TrackingSummarised:
    """Return the same summary of the price tracking that the API also returns directly."""
    return TrackingSummarised(
        success=True,
        task_type=SUMMARY,
        summary=await tracking.summary(context.database),
        retrieved_at=datetime.now(UTC),
    )


def _searches(places: list[dict[str, Any]], first: date, days: int) -> Iterator[_Search]:
    for place in places:
        for offset in range(days):
            check_in = first + timedelta(days=offset)
            query = HotelQuery(
                place=place["query"],
                check_in=check_in,
                check_out=check_in + NIGHT,
                adults=tracking.ADULTS,
                currency=tracking.CURRENCY,
                nationality=tracking.NATIONALITY,
                stars=tracking.STARS,
                min_rating=tracking.MIN_RATING,
            )
            yield _Search(query, Place(place["id"], place["area"]))


async def _rows(context: TaskContext, query: HotelQuery, observed_on: date) -> tuple[list[HotelRow], int]:
    """Read all pages of a search. Returns the hotels of the tracked categories (stars), and how
    many could not be read.
    """
    searches = context.gateway(SerpApiSearches)
    rows: list[HotelRow] = []
    page, unreadable = None, 0
    for _ in range(tracking.MAX_PAGES):
        answer = await searches.page(
            context.database, query, page, seen_on=observed_on, reserve=searches.scan_reserve
        )
        rows += answer.rows
        unreadable += answer.unreadable
        page = answer.next_page
        if page is None:
            break
    if unreadable:
        context.log.warning("%d rows could not be read", unreadable, extra={"place": query.place})
    return [row for row in hotel_store.distinct(rows) if row.star_rating in tracking.STARS], unreadable


async def _record(context: TaskContext, search: _Search, rows: list[HotelRow], observed_on: date) -> set[int]:
    """Store the found hotels and their prices. Returns the ids of the hotels."""
    sight = Sight(search.query.check_in, search.query.check_out, observed_on, context.id)
    async with context.transaction():
        ids = await hotel_store.keep_hotels(context.database, PROVIDER, rows, search.place)
        await hotel_store.keep_prices(context.database, PROVIDER, rows, ids, sight)
    return set(ids.values())


async def _raise_alerts(context: TaskContext) -> int:
    """Mark the alerts whose price has fallen as raised, and submit their mails. Returns how many.

    This happens in the transaction that records this task's success.
    """
    fallen = await context.database.run(pricing.RAISE_ALERTS, context.id)
    for row in fallen:
        alert = PriceAlert(
            hotel_name=row["hotel_name"][:200],
            currency=row["currency"],
            old_price=float(row["old_price"]),
            new_price=float(row["new_price"]),
            destination=row["destination"],
            check_in=row["check_in"],
            check_out=row["check_out"],
        )
        context.submit(SEND_PRICE_ALERT, SendPriceAlert(user_id=row["user"], alert=alert))
    return len(fallen)
