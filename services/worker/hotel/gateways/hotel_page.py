"""The query and the results of a hotel search, in a form that is the same for all providers."""

from datetime import date
from decimal import Decimal
from typing import Any, Literal

import msgspec


class HotelQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A search for hotels for one stay. All providers and all pages get the same query."""

    #: The place to search in, such as "Candolim, Goa, India".
    place: str
    check_in: date
    check_out: date
    adults: int
    #: Ages of the children who stay at the hotel.
    children_ages: tuple[int, ...] = ()
    #: Code of the currency for prices, ISO 4217.
    currency: str
    #: Code of the guests' country, ISO 3166-1. Some prices depend on it.
    nationality: str = "IN"
    #: Accepted hotel categories in stars. If empty, all are accepted.
    stars: tuple[int, ...] = ()
    #: Lowest accepted guest rating, 0 to 5; None accepts all.
    min_rating: float | None = None
    #: Lowest accepted price per night; None accepts all.
    min_price: float | None = None
    max_price: float | None = None
    free_cancellation: bool = False
    sort_by: Literal["relevance", "price", "rating"] = "relevance"


class HotelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One hotel of a search result. Fields that the provider's data lacks are None."""

    #: The provider's identifier of the hotel, which stays the same over time.
    external_id: str
    name: str
    #: Hotel category, 1 to 5 stars.
    star_rating: int | None = None
    guest_rating: float | None = None
    guest_rating_count: int | None = None
    latitude: float | None = None
    longitude: float | None = None
    image_url: str | None = None
    #: Price of the hotel; None if it is sold out or no price is known.
    price: Decimal | None = None
    #: Currency of the price, ISO 4217.
    currency: str
    #: Whether the price is for one night or for the whole stay.
    price_for: Literal["night", "stay"]
    #: The provider's data about the hotel, unchanged.
    raw: dict[str, Any]


class HotelPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a search result, in the provider's order."""

    rows: tuple[HotelRow, ...]
    #: Number of hotels on the page that were skipped, because they have no name, no identifier or
    #: no valid price.
    unreadable: int
    #: Token for requesting the next page; None on the last page.
    next_page: str | None
