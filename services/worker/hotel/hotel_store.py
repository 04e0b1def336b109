"""Stores hotels that searches and scans have found, and their prices as observed on a day."""

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
    """The tracked destination, and the area in it, where hotels were found.

    Both ids are None if the search was for a place given as text.
    """

    destination: int | None = None
    area: int | None = None


@dataclass(frozen=True, slots=True)
class Sight:
    """Describes an observation of prices: on which day, for which stay and guests, and by which
    task.
    """

    check_in: date
    check_out: date
    observed_on: date
    task: UUID
    #: The guests as text, such as "2 adults, children of 4, 7"; None means one adult.
    occupancy: str | None = None


#: Fields of a hotel, in the order in which the statement UPSERT_HOTELS expects them.
_KEPT = (
    *("external_id", "name", "star_rating", "guest_rating", "guest_rating_count"),
    *("latitude", "longitude", "image_url"),
)


async def keep_hotels(
    database: Sql, provider: str, rows: Sequence[HotelRow], place: Place = Place()
) -> dict[str, int]:
    """Insert or update hotels. Returns the ids of their rows by the provider's identifiers."""
    if not rows:
        return {}
    columns = [[getattr(row, name) for row in rows] for name in _KEPT]
    columns.append([_text(row) for row in rows])
    stored = await database.run(hotels.UPSERT_HOTELS, provider, place.destination, place.area, *columns)
    return {row["external_id"]: row["id"] for row in stored}


async def keep_prices(
    database: Sql, provider: str, rows: Sequence[HotelRow], ids: dict[str, int], sight: Sight
) -> int:
    """Store the prices that are per night, and return how many there are.

    Prices for a whole stay are not stored.
    """
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
    """Remove hotels that occur more than once.

    Pages may overlap if the provider's order changes between two requests.
    """
    return list({row.external_id: row for row in reversed(rows)}.values())[::-1]


def _text(row: HotelRow) -> str:
    # NUL characters are removed, because Postgres' jsonb does not accept them.
    return msgspec.json.encode(row.raw).decode().replace("\\u0000", "")
