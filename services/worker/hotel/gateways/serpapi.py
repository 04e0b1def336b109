"""Client of SerpApi's Google Hotels: requests pages of hotels and single hotels, and reads the
responses.

Each page uses one search of the paid plan. `SerpApiGateway.account` reports how many searches are
left; the caller has to stay within that number.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Literal, Self

import httpx
import msgspec

from services.worker.hotel.gateways import answer
from services.worker.hotel.gateways.answer import MAX_COUNT, Nonsense
from services.worker.hotel.gateways.hotel_page import HotelPage, HotelQuery, HotelRow
from services.worker.hotel.gateways.provider import (
    Pace,
    Provider,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from shared.hotel.settings import HotelSettings

NAME = "SerpApi"
#: Retry delay in seconds once the searches of the current hour are used up. The provider does not
#: say when the hour ends, but after six such delays it has certainly ended.
HOURLY_DELAY_S = 600.0
#: Part of the provider's message for a search without results, which is not an error. The rest of
#: the sentence varies.
EMPTY = "hasn't returned any results"
OUT = "run out of searches"
#: Statuses of a search that the provider has not finished yet.
UNFINISHED = ("Queued", "Processing")

#: Hotel categories (stars) by which the provider can filter.
CLASSES = frozenset(range(2, 6))
#: Minimum guest ratings by which the provider can filter, each with the provider's code.
RATINGS = ((4.5, "9"), (4.0, "8"), (3.5, "7"))
ORDERS = {"price": "3", "rating": "8"}
STARS = re.compile(r"(?<!\d)([1-5])(?!\d)")


class OutOfSearches(ProviderRefused):
    """Raised if the plan has no searches left until it is renewed."""


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """How many searches the account has left, as counted by the provider."""

    searches_left: int
    #: Number of searches per hour that the plan allows; None if the provider does not say.
    hourly_limit: int | None
    #: Number of searches made in the current hour; None if the provider does not say.
    this_hour: int | None


class SerpApiGateway:
    """Client of one SerpApi account."""

    def __init__(self, key: str, url: str, provider: Provider) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._provider = provider

    @classmethod
    def from_settings(cls, settings: HotelSettings, pace: Pace) -> Self:
        provider = Provider(NAME, pace=pace, rate=settings.serpapi_rate, deadline=settings.serpapi_deadline)
        return cls(settings.serpapi_key, settings.serpapi_url, provider)

    @property
    def configured(self) -> bool:
        return bool(self._key)

    async def search_page(self, query: HotelQuery, page: str | None) -> dict[str, Any]:
        """Request a page of hotels and return the raw response.

        `page` is the `next_page` of the previous page; None requests the first one. A response
        without results is valid too. Raises OutOfSearches, ProviderRefused, ProviderBusy and
        ProviderAway.
        """
        filters = dict(_filters(query))
        return await self._search(_stay(query) | filters | ({"next_page_token": page} if page else {}))

    async def details(self, query: HotelQuery, property_token: str) -> dict[str, Any]:
        """Request one hotel and return the raw response.

        This uses one search and raises the same errors as `search_page`.
        """
        return await self._search(_stay(query) | {"property_token": property_token})

    async def account(self) -> Account:
        """Read how many searches the account has left. This is free of charge.

        Raises ProviderAway, also if the response does not contain the number.
        """
        raw = await self._get("/account.json", {})
        left = (_count(raw.get(key)) for key in ("total_searches_left", "plan_searches_left"))
        searches_left = next((count for count in left if count is not None), None)
        if searches_left is None:
            raise ProviderAway(f"{NAME} doesn't say how many searches are left")
        return Account(
            searches_left=searches_left,
            hourly_limit=_count(raw.get("account_rate_limit_per_hour")),
            this_hour=_count(raw.get("this_hour_searches")),
        )

    async def close(self) -> None:
        await self._provider.close()

    async def _search(self, parameters: dict[str, str]) -> dict[str, Any]:
        raw = await self._get("/search.json", {"engine": "google_hotels", **parameters})
        if _status(raw) in UNFINISHED:
            raise ProviderAway(f"{NAME} has not finished the search")
        return raw

    async def _get(self, path: str, parameters: dict[str, str]) -> dict[str, Any]:
        if not self.configured:
            raise ProviderRefused("SERP_API_KEY is not set, so SerpApi cannot be used")
        response = await self._provider.request(
            "GET", self._url + path, params={**parameters, "api_key": self._key}
        )
        if response.status_code != httpx.codes.OK:
            raise _refusal(response.status_code, answer.words(response, NAME, [self._key]))
        raw = answer.parse_object(response, NAME, [self._key])
        _raise_in_band(raw)
        return raw


def _stay(query: HotelQuery) -> dict[str, str]:
    """Return the request parameters that determine prices: the place, the dates and the guests."""
    stay = {
        "q": query.place,
        "check_in_date": query.check_in.isoformat(),
        "check_out_date": query.check_out.isoformat(),
        "adults": str(query.adults),
        "currency": query.currency,
        "gl": query.nationality.lower(),
        "hl": "en",
    }
    if query.children_ages:
        stay["children"] = str(len(query.children_ages))
        stay["children_ages"] = ",".join(str(max(age, 1)) for age in query.children_ages)
    return stay


def _rating_code(least: float | None) -> str | None:
    """Return the provider's code for a minimum guest rating, or None.

    If the provider does not support this rating, it is the code of the next lower one.
    """
    if least is None:
        return None
    return next((code for limit, code in RATINGS if least >= limit), None)


def _filters(query: HotelQuery) -> Iterator[tuple[str, str]]:
    """Yield the filters for a request. They never exclude a hotel that matches the query.

    The provider supports only some filters, so the caller filters the results further.
    """
    if query.stars and CLASSES.issuperset(query.stars):
        yield "hotel_class", ",".join(str(stars) for stars in sorted(set(query.stars)))
    if code := _rating_code(query.min_rating):
        yield "rating", code
    for name, limit in (("min_price", query.min_price), ("max_price", query.max_price)):
        if limit is not None:
            yield name, f"{limit:.2f}".removesuffix(".00")
    if query.free_cancellation:
        yield "free_cancellation", "true"
    if query.sort_by in ORDERS:
        yield "sort_by", ORDERS[query.sort_by]


def _refusal(status: int, words: str) -> ProviderRefused | ProviderBusy:
    if OUT in words:
        return OutOfSearches(words)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return ProviderBusy(words, delay_s=HOURLY_DELAY_S)
    return ProviderRefused(words)


def _raise_in_band(raw: dict[str, Any]) -> None:
    """Raise an error if a response with HTTP status 200 reports that the search failed.

    The failure is in the field `error` or in the status of the search.
    """
    text = " ".join(answer.complaints(raw))[: answer.MAX_WORDS_CHARS]
    if EMPTY in text or not (text or _status(raw) == "Error"):
        return
    words = f"{NAME} answered 200: {text or 'the search failed'}"
    if OUT in text:
        raise OutOfSearches(words)
    if "Invalid API key" in text:
        raise ProviderRefused(words)
    # The documentation of the provider names no other errors, so this one counts as temporary.
    raise ProviderAway(words)


def parse_page(raw: dict[str, Any], query: HotelQuery) -> HotelPage:
    """Parse a raw response of `search_page`, which may come from the cache. Never raises."""
    found = raw.get("properties")
    if found is None and _is_one_hotel(raw):
        rows = [parse_details(raw, query)]
    else:
        # A search without results has no list. A value that is not a list counts as one unreadable
        # hotel.
        found = [] if found is None else found if isinstance(found, list) else [found]
        rows = [_row(row, query) if isinstance(row, dict) else None for row in found]
    readable = tuple(row for row in rows if row is not None)
    pagination = raw.get("serpapi_pagination")
    return HotelPage(
        rows=readable,
        unreadable=len(rows) - len(readable),
        next_page=answer.text(pagination.get("next_page_token")) if isinstance(pagination, dict) else None,
    )


def _is_one_hotel(raw: dict[str, Any]) -> bool:
    """Return True if the response describes one hotel instead of a list.

    This happens if the query is the name of a hotel.
    """
    return any(raw.get(key) is not None for key in ("name", "property_token"))


def parse_details(raw: dict[str, Any], query: HotelQuery) -> HotelRow | None:
    """Parse a raw response of `details`. Returns None if it describes no hotel. Never raises."""
    echo = raw.get("search_parameters")
    asked = echo.get("property_token") if isinstance(echo, dict) else None
    return _row({**raw, "property_token": raw.get("property_token") or asked}, query, kept=raw)


def _row(row: dict[str, Any], query: HotelQuery, *, kept: dict[str, Any] | None = None) -> HotelRow | None:
    name, token = answer.text(row.get("name")), answer.text(row.get("property_token"))
    try:
        price, price_for = _price(row)
    except Nonsense:
        return None
    if name is None or token is None:
        return None
    where = row.get("gps_coordinates")
    where = where if isinstance(where, dict) else {}
    return HotelRow(
        external_id=token,
        name=name,
        star_rating=_stars(row),
        guest_rating=answer.number(row.get("overall_rating"), 0, 5),
        guest_rating_count=_count(row.get("reviews")),
        latitude=answer.number(where.get("latitude"), -90, 90),
        longitude=answer.number(where.get("longitude"), -180, 180),
        image_url=_image(row.get("images")),
        price=price,
        currency=query.currency,
        price_for=price_for,
        raw=row if kept is None else kept,
    )


def _price(row: dict[str, Any]) -> tuple[Decimal | None, Literal["night", "stay"]]:
    """Return the price of a hotel, or None if it has none. Raises Nonsense if the price is invalid.

    The second value says whether the price is per night or for the whole stay.
    """
    night = _lowest(row.get("rate_per_night"))
    if night is not None:
        return night, "night"
    stay = _lowest(row.get("total_rate"))
    if stay is not None:
        return stay, "stay"
    offers = row.get("prices")
    for offer in offers if isinstance(offers, list) else []:
        night = _lowest(offer.get("rate_per_night")) if isinstance(offer, dict) else None
        if night is not None:
            return night, "night"
    return None, "night"


def _lowest(rate: Any) -> Decimal | None:
    if rate is None:
        return None
    if not isinstance(rate, dict):
        raise Nonsense("the room rate of a hotel is not a JSON object")
    lowest = rate.get("extracted_lowest")
    return None if lowest is None else answer.price(lowest)


def _stars(row: dict[str, Any]) -> int | None:
    stars = answer.whole(row.get("extracted_hotel_class"), 1, 5)
    if stars is not None:
        return stars
    found = STARS.search(answer.text(row.get("hotel_class")) or "")
    return int(found.group(1)) if found else None


def _image(images: Any) -> str | None:
    first = images[0] if isinstance(images, list) and images else None
    if not isinstance(first, dict):
        return None
    return answer.web_address(first.get("original_image")) or answer.web_address(first.get("thumbnail"))


def _count(value: Any) -> int | None:
    return answer.whole(value, 0, MAX_COUNT)


def _status(raw: dict[str, Any]) -> Any:
    metadata = raw.get("search_metadata")
    return metadata.get("status") if isinstance(metadata, dict) else None
