"""Bodies of the tasks that search hotels while a user waits, and of those that update stored hotels
from their providers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import msgspec

from services.worker.hotel import hotel_store
from services.worker.hotel.gateways import travclan
from services.worker.hotel.gateways.hotel_page import HotelPage, HotelQuery, HotelRow
from services.worker.hotel.gateways.provider import ProviderRefused
from services.worker.hotel.gateways.serpapi import OutOfSearches
from services.worker.hotel.gateways.travclan import TravClanGateway
from services.worker.hotel.hotel_store import Sight
from services.worker.hotel.searches import SerpApiSearches
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import ExpectedError, PermanentError
from shared.hotel import hotels, tracking
from shared.hotel.contracts.hotels import (
    SEARCH,
    SYNC,
    SYNC_BATCH,
    FoundHotel,
    HotelBatchSynced,
    HotelsFound,
    HotelsSynced,
    ProviderReport,
    SearchHotels,
    SyncHotelBatch,
    SyncHotels,
)

#: Number of the attempt from which on a search does without a provider that has a temporary error.
#: In earlier attempts, such an error fails the attempt, so that the search is retried.
PATIENT_ATTEMPTS = 3

#: Type of a function that requests one page of hotels from a provider.
Ask = Callable[[str | None], Awaitable[HotelPage]]


@dataclass
class _Found:
    """The results of one provider up to now, and its error if it failed."""

    rows: list[HotelRow] = field(default_factory=list)
    pages: int = 0
    unreadable: int = 0
    error: str | None = None

    def report(self) -> ProviderReport:
        return ProviderReport(
            pages=self.pages, hotels=len(self.rows), unreadable=self.unreadable, error=self.error
        )


@task(SEARCH)
async def search(context: TaskContext, params: SearchHotels) -> HotelsFound:
    """Search hotels at every configured provider, store them, and return them with their prices."""
    query = _query(params)
    providers = await _providers(context, query)
    found: dict[str, _Found] = {}
    steps = len(providers) * params.max_pages
    for number, (name, ask) in enumerate(providers.items()):
        before = number * params.max_pages
        found[name] = await _ask(context, name, ask, query, before, steps, params.max_pages)
    if all(one.error is not None for one in found.values()):
        raise PermanentError("; ".join(f"{name}: {one.error}" for name, one in found.items()))
    now = datetime.now(UTC)
    sight = Sight(params.check_in, params.check_out, now.date(), context.id, _occupancy(params))
    async with context.transaction() as transaction:
        rows: list[FoundHotel] = []
        for name, one in found.items():
            ids = await hotel_store.keep_hotels(context.database, name, one.rows)
            await hotel_store.keep_prices(context.database, name, one.rows, ids, sight)
            rows += [_answer(name, ids[row.external_id], row) for row in one.rows]
        result = HotelsFound(
            success=True,
            user_id=params.user_id,
            search_criteria=params,
            hotels_found=len(rows),
            hotels=rows,
            providers={name: one.report() for name, one in found.items()},
            search_completed_at=now,
        )
        await context.complete_in(transaction, result)
    return result


def _query(params: SearchHotels) -> HotelQuery:
    filters = params.filters
    return HotelQuery(
        place=params.destination,
        check_in=params.check_in,
        check_out=params.check_out,
        adults=params.adults,
        children_ages=tuple(params.children_ages),
        currency=params.currency,
        nationality=params.nationality,
        stars=tuple(sorted(set(filters.stars or ()))),
        min_rating=filters.min_rating,
        min_price=filters.min_price,
        max_price=filters.max_price,
        free_cancellation=filters.free_cancellation,
        sort_by=cast("Literal['relevance', 'price', 'rating']", filters.sort_by),
    )


def _occupancy(params: SearchHotels) -> str | None:
    ages = ", ".join(map(str, sorted(params.children_ages)))
    said = f"{params.adults} adults{f', children of {ages}' if ages else ''}"
    return None if said == f"{tracking.ADULTS} adults" else said


async def _providers(context: TaskContext, query: HotelQuery) -> dict[str, Ask]:
    searches, volt = context.gateway(SerpApiSearches), context.gateway(TravClanGateway)
    known: dict[str, Ask] = {}
    if searches.gateway.configured:
        known["serpapi"] = lambda page: searches.page(context.database, query, page)
    if volt.configured:
        known["travclan"] = _TravClan(volt, query).page
    if not known:
        raise PermanentError("no provider is configured: set SERP_API_KEY or TRAVCLAN_API_KEY")
    return known


@dataclass
class _TravClan:
    """Requests pages of hotels from TravClan.

    The id of the place is requested only with the first page and then reused.
    """

    gateway: TravClanGateway
    query: HotelQuery
    _location: int | None = None

    async def page(self, page: str | None) -> HotelPage:
        if self._location is None:
            self._location = await self.gateway.find_location(self.query.place)
        if self._location is None:
            return HotelPage(rows=(), unreadable=0, next_page=None)
        raw = await self.gateway.search_page(self.query, self._location, page)
        return travclan.parse_page(raw, self.query, page)


async def _ask(
    context: TaskContext, name: str, ask: Ask, query: HotelQuery, done: int, steps: int, max_pages: int
) -> _Found:
    """Request one page after another from a provider.

    Each page is one step of the task's progress.
    """
    found, page = _Found(), None
    try:
        while found.pages < max_pages:
            answer = await ask(page)
            found.pages += 1
            found.unreadable += answer.unreadable
            wanted = [row for row in answer.rows if _fits(row, query)]
            found.rows = hotel_store.distinct([*found.rows, *wanted])
            said = f"{name}, page {found.pages}: {len(found.rows)} hotels"
            context.progress(done + found.pages, steps, said)
            page = answer.next_page
            if page is None:
                break
    except PermanentError as error:
        found.error = str(error)
        context.log.warning("%s refused the search: %s", name, error)
    except ExpectedError as error:
        if context.attempt < PATIENT_ATTEMPTS:
            raise
        found.error = str(error)
        context.log.warning("the search continues without %s: %s", name, error)
    if found.unreadable:
        context.log.warning("%d rows of %s could not be read", found.unreadable, name)
    return found


def _fits(row: HotelRow, query: HotelQuery) -> bool:
    """Return True if the hotel matches the filters of the query.

    Providers filter less exactly than requested, or not at all. A hotel for which a value is
    unknown does not match a filter on that value.
    """
    if query.stars and row.star_rating not in query.stars:
        return False
    if query.min_rating is not None and (row.guest_rating or 0) < query.min_rating:
        return False
    limits = query.min_price, query.max_price
    comparable = row.price_for == "night" and row.currency == query.currency
    return limits == (None, None) or not comparable or _is_affordable(row, query)


def _is_affordable(row: HotelRow, query: HotelQuery) -> bool:
    lowest, highest = query.min_price or 0, query.max_price or float("inf")
    return row.price is not None and lowest <= row.price <= highest


def _answer(provider: str, hotel: int, row: HotelRow) -> FoundHotel:
    return FoundHotel(
        id=hotel,
        provider=provider,
        external_id=row.external_id,
        name=row.name,
        star_rating=row.star_rating,
        guest_rating=row.guest_rating,
        price=None if row.price is None else float(row.price),
        price_for=row.price_for,
        currency=row.currency,
        image_url=row.image_url,
    )


@task(SYNC)
async def sync(context: TaskContext, params: SyncHotels) -> HotelsSynced:
    """Submit one task for each batch of active hotels, to update them.

    The tasks are stored in the transaction that records this task's success.
    """
    ids = [row["id"] for row in await context.database.run(hotels.ACTIVE_HOTELS)]
    batches = [ids[start : start + params.batch_size] for start in range(0, len(ids), params.batch_size)]
    for batch in batches:
        context.submit(SYNC_BATCH, SyncHotelBatch(hotel_ids=batch))
    context.log.info("submitted %d hotels in %d batches", len(ids), len(batches))
    return HotelsSynced(
        success=True,
        total_hotels=len(ids),
        batches_submitted=len(batches),
        sync_completed_at=datetime.now(UTC),
    )


@task(SYNC_BATCH)
async def sync_batch(context: TaskContext, params: SyncHotelBatch) -> HotelBatchSynced:
    """Update a batch of hotels from their providers.

    Hotels that cannot be updated are reported by their ids. A hotel that an earlier attempt of this
    task has updated is skipped, so that no request is paid for twice.
    """
    rows = await context.database.run(hotels.HOTELS, context.id, params.hotel_ids)
    errors = {hotel: "does not exist" for hotel in params.hotel_ids if hotel not in {r["id"] for r in rows}}
    for number, row in enumerate(rows, 1):
        if not row["is_fresh"] and (error := await _refresh(context, row)):
            errors[row["id"]] = error
        context.progress(number, len(rows), f"{number} of {len(rows)} hotels")
    return HotelBatchSynced(
        success=not errors,
        hotels_processed=len(params.hotel_ids),
        hotels_updated=len(params.hotel_ids) - len(errors),
        errors=errors,
        sync_completed_at=datetime.now(UTC),
    )


async def _refresh(context: TaskContext, row: dict[str, Any]) -> str | None:
    """Update one hotel. Returns the reason if the provider refused, otherwise None.

    Raises OutOfSearches, ProviderBusy and ProviderAway.
    """
    try:
        values = await _refreshed(context, row["provider"], row["external_id"], row["name"])
    except OutOfSearches:
        raise
    except ProviderRefused as error:
        return str(error)
    await context.database.run(hotels.REFRESH_HOTEL, row["id"], *values)
    return None


async def _refreshed(context: TaskContext, provider: str, external_id: str, name: str) -> tuple[object, ...]:
    """Request a hotel: its name, category (stars), guest rating, number of ratings, and the raw
    response.
    """
    if provider == "travclan":
        # The fields of this response are not documented, so only the raw response is stored.
        raw = await context.gateway(TravClanGateway).static_content(external_id)
        return None, None, None, None, msgspec.json.encode(raw).decode()
    today = datetime.now(UTC).date()
    query = HotelQuery(
        place=name,
        check_in=today + timedelta(days=1),
        check_out=today + timedelta(days=1 + tracking.STAY_NIGHTS),
        adults=tracking.ADULTS,
        currency=tracking.CURRENCY,
        nationality=tracking.NATIONALITY,
    )
    row, raw_text = await context.gateway(SerpApiSearches).details(context.database, query, external_id)
    if row is None:
        raise ProviderRefused("the answer about this hotel could not be read")
    return row.name, row.star_rating, row.guest_rating, row.guest_rating_count, raw_text
