"""Keeps what searches and scans found: the hotels, and their prices on the day they were seen."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import msgspec

from services.worker.hotel.gateways.hotel_page import HotelRow
from shared.contracts.context import Sql
from shared.hotel import hotels, pricing


@dataclass(frozen=True, slots=True)
class Place:
    """Where the found hotels are; a free search knows neither."""

    destination: int | None = None
    area: int | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """When, for which stay and by which task prices were seen."""

    check_in: date
    check_out: date
    observed_on: date
    task: UUID
    #: Who sleeps there; None: one adult.
    occupancy: str | None = None


#: Fields of a row, in the order of UPSERT_HOTELS.
_KEPT = (
    *("external_id", "name", "star_rating", "guest_rating", "guest_rating_count"),
    *("latitude", "longitude", "image_url"),
)


async def keep_hotels(
    database: Sql, provider: str, rows: Sequence[HotelRow], place: Place = Place()
) -> dict[str, int]:
    """Store or refresh hotels; returns their ids by the provider's handle."""
    if not rows:
        return {}
    columns = [[getattr(row, name) for row in rows] for name in _KEPT]
    columns.append([_text(row) for row in rows])
    stored = await database.run(hotels.UPSERT_HOTELS, provider, place.destination, place.area, *columns)
    return {row["external_id"]: row["id"] for row in stored}


async def keep_prices(
    database: Sql, provider: str, rows: Sequence[HotelRow], ids: dict[str, int], sight: Sight
) -> int:
    """Store the prices per night, not those of whole stays; returns how many there were."""
    priced = [row for row in rows if row.price is not None and row.price_for == "night"]
    by_currency: dict[str | None, list[HotelRow]] = defaultdict(list)
    for row in priced:
        by_currency[row.currency].append(row)
    for currency, some in by_currency.items():
        await database.run(
            pricing.OBSERVE,
            *(sight.check_in, sight.check_out, provider, sight.occupancy, sight.observed_on),
            *(currency, sight.task),
            [ids[row.external_id] for row in some],
            [row.price for row in some],
            [_text(row) for row in some],
        )
    return len(priced)


def distinct(rows: Sequence[HotelRow]) -> list[HotelRow]:
    """Each hotel once: pages overlap while a provider's order changes."""
    return list({row.external_id: row for row in reversed(rows)}.values())[::-1]


def _text(row: HotelRow) -> str:
    # jsonb holds no NUL.
    return msgspec.json.encode(row.raw).decode().replace("\\u0000", "")
