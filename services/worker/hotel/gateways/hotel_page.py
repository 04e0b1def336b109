"""Hotels as the search gateways ask for them and answer, whichever provider it is."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal

import msgspec


class HotelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A stay somewhere; the same for all providers and pages."""

    #: "Candolim, Goa, India".
    place: str
    check_in: date
    check_out: date
    adults: int
    #: One age for each child.
    children_ages: tuple[int, ...] = ()
    #: ISO 4217.
    currency: str
    #: Country whose guests' prices are asked for, ISO 3166-1.
    nationality: str = "IN"
    #: Any of these; empty: all.
    stars: tuple[int, ...] = ()
    #: Guests' rating, 0 to 5, at least.
    min_rating: float | None = None
    #: Per night.
    min_price: float | None = None
    max_price: float | None = None
    free_cancellation: bool = False
    sort_by: Literal["relevance", "price", "rating"] = "relevance"


class HotelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hotel, as far as the provider's row could be read."""

    #: The provider's own stable handle.
    external_id: str
    name: str
    #: 1 to 5.
    star_rating: int | None = None
    guest_rating: float | None = None
    guest_rating_count: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    image_url: str | None = None
    #: Null: known, but sold out or without a price.
    price: Decimal | None = None
    #: Of the price, ISO 4217.
    currency: str
    #: What the price pays for.
    price_for: Literal["night", "stay"]
    #: The row as it came.
    raw: dict[str, Any]


class HotelPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of results, in the provider's order."""

    rows: tuple[HotelRow, ...]
    #: Rows that have no name, no handle, or a price that is none.
    unreadable: int
    #: What to give to get the next page; null on the last one.
    next_page: str | None
