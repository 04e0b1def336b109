"""Client of TravClan's hotels: places, searches, rooms and descriptions.

It uses the vendor's "Volt" interface where possible. The vendor publishes no description of its
API, so all knowledge about it comes from existing clients. Responses are therefore parsed
leniently, and each raw response is returned too, so that it can be stored.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from services.worker.hotel.gateways import answer
from services.worker.hotel.gateways.answer import Nonsense
from services.worker.hotel.gateways.hotel_page import HotelPage, HotelQuery, HotelRow
from services.worker.hotel.gateways.provider import Pace, Provider, ProviderAway, ProviderRefused
from services.worker.hotel.gateways.travclan_session import NAME, Session, refusal
from shared.hotel.settings import HotelSettings

PAGE_SIZE = 20
#: Types of places that are single points, so that one cannot search for hotels in them.
POINTS = ("hotel", "airport")
HEADERS = {"Authorization-Type": "external-service", "source": "website", "Accept": "application/json"}
EXPIRED = ("token expired", "unauthorized")


class RoomOffer(msgspec.Struct, frozen=True, kw_only=True):
    """One way to book a room of a hotel for the whole stay, with its price."""

    option_id: str
    room_name: str | None
    price: Decimal
    #: Code of the currency, ISO 4217.
    currency: str
    #: Whether the booking is refundable, and the meals that are included, in the provider's words;
    #: None if not given as text.
    refundability: str | None
    board: str | None
    #: The provider's data about the offer, unchanged.
    raw: dict[str, Any]


class TravClanGateway:
    """Client of one TravClan account."""

    def __init__(self, session: Session, hotel_url: str, volt_url: str, provider: Provider) -> None:
        self._session = session
        self._hotel_url = hotel_url.rstrip("/")
        self._volt_url = volt_url.rstrip("/")
        self._provider = provider

    @classmethod
    def from_settings(cls, settings: HotelSettings, pace: Pace) -> Self:
        provider = Provider(NAME, pace=pace, rate=settings.travclan_rate, deadline=settings.travclan_deadline)
        credentials = {
            "merchant_id": settings.travclan_merchant_id,
            "user_id": settings.travclan_user_id,
            "api_key": settings.travclan_api_key,
        }
        session = Session(credentials, settings.travclan_auth_url, provider)
        return cls(session, settings.travclan_hotel_url, settings.travclan_volt_url, provider)

    @property
    def configured(self) -> bool:
        return self._session.configured

    async def find_location(self, text: str) -> int | None:
        """Find the first area with this name and return its id. Returns None if there is none.

        Like all methods of this class, it raises ProviderRefused, ProviderBusy and ProviderAway.
        """
        raw = await self._hotel("/api/v1/locations/search", params={"searchString": text})
        return next(_areas(raw), None)

    async def search_page(self, query: HotelQuery, location_id: int, page: str | None) -> dict[str, Any]:
        """Request a page of hotels and return the raw response.

        `page` is the `next_page` of the previous page; None requests the first one. The request
        contains only the stay, because it is unknown whether Volt accepts filters or a currency.
        """
        number, trace_id = _page(page)
        body = {
            "checkIn": query.check_in.isoformat(),
            "checkOut": query.check_out.isoformat(),
            "nationality": query.nationality,
            "occupancies": [{"numOfAdults": query.adults, "childAges": list(query.children_ages)}],
            "locationId": location_id,
            "page": number,
            "pageSize": PAGE_SIZE,
        }
        return await self._volt("/api/v1/search", body | ({"traceId": trace_id} if trace_id else {}))

    async def static_content(self, hotel_id: str) -> dict[str, Any]:
        """Request the description of a hotel and return the raw response. Its format is unknown."""
        raw = await self._hotel(f"/api/v1/hotels/{quote(hotel_id, safe='')}/static-content")
        return answer.an_object(raw, NAME)

    async def rooms(self, hotel_id: str, trace_id: str) -> dict[str, Any]:
        """Request the rooms of a hotel and return the raw response.

        `trace_id` comes from the response to the search. The provider forgets it after a while.
        """
        return await self._volt("/api/v1/roomsandrates", {"traceId": trace_id, "hotelId": hotel_id})

    async def close(self) -> None:
        await self._provider.close()

    async def _hotel(self, path: str, **options: Any) -> Any:
        return await self._call("GET", self._hotel_url + path, circuit=f"{NAME} hotel", **options)

    async def _volt(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        raw = await self._call("POST", self._volt_url + path, circuit=f"{NAME} volt", json=body)
        return answer.an_object(raw, NAME)

    async def _call(self, method: str, url: str, **options: Any) -> Any:
        if not self.configured:
            needed = "TRAVCLAN_API_KEY, TRAVCLAN_MERCHANT_ID and TRAVCLAN_USER_ID"
            raise ProviderRefused(f"{needed} are not all set, so TravClan cannot be used")
        token = await self._session.token()
        response = await self._send(token, method, url, options)
        if _expired(response):
            token = await self._session.token(rejected=token)
            response = await self._send(token, method, url, options)
        secrets = (*self._session.secrets, token)
        if not response.is_success:
            raise refusal(response, secrets)
        raw = answer.parse(response, NAME, secrets)
        if isinstance(raw, dict) and raw.get("error") and not raw.keys() & {"results", "data"}:
            raise ProviderAway(answer.words(response, NAME, secrets))
        return raw

    async def _send(self, token: str, method: str, url: str, options: dict[str, Any]) -> httpx.Response:
        headers = HEADERS | {"Authorization": f"Bearer {token}"}
        return await self._provider.request(method, url, headers=headers, **options)


def _expired(response: httpx.Response) -> bool:
    """Return True if the response says that the token has expired, and not that the account is
    invalid.

    Existing clients look for the same words in the response.
    """
    if response.status_code != httpx.codes.UNAUTHORIZED:
        return False
    said = answer.words(response, NAME, ()).casefold()
    return any(words in said for words in EXPIRED)


def _areas(raw: Any) -> Iterator[int]:
    for row in _rows(raw) or []:
        kind = answer.text(row.get("type")) if isinstance(row, dict) else None
        if kind is None or kind.casefold() in POINTS:
            continue
        identity = answer.whole(row.get("id"), 1, 2**63 - 1)
        if identity is not None:
            yield identity


def _page(page: str | None) -> tuple[int, str]:
    """Split a page token into the page number and the trace id.

    The provider's trace id connects the pages of one search.
    """
    number, _, trace_id = (page or "1:").partition(":")
    return int(number), trace_id


def parse_page(raw: dict[str, Any], query: HotelQuery, page: str | None) -> HotelPage:
    """Parse a raw response of `search_page`. `page` is the token that was requested. Never
    raises.
    """
    found = _rows(raw)
    # A response without a list of hotels counts as one unreadable hotel.
    rows = [None] if found is None else [_row(row, query) for row in found]
    readable = tuple(row for row in rows if row is not None)
    number, trace_id = _page(page)
    return HotelPage(
        rows=readable,
        unreadable=len(rows) - len(readable),
        # A full page may be followed by another one. Only a page that is not full is certainly the
        # last.
        next_page=f"{number + 1}:{_trace_id(raw) or trace_id}" if len(rows) >= PAGE_SIZE else None,
    )


def parse_rooms(raw: dict[str, Any]) -> tuple[RoomOffer, ...]:
    """Parse a raw response of `rooms`. Offers without a price or a currency are skipped. Never
    raises.
    """
    options = _inside(raw).get("options")
    if not isinstance(options, dict):
        return ()
    offers = (_offer(option_id, option) for option_id, option in options.items())
    return tuple(offer for offer in offers if offer is not None)


def _row(row: Any, query: HotelQuery) -> HotelRow | None:
    if not isinstance(row, dict):
        return None
    external_id = _identity(row.get("id")) or _identity(row.get("hotelId"))
    name = answer.text(row.get("hotelName")) or answer.text(row.get("name"))
    availability = row.get("availability")
    try:
        price, currency = _rate(availability.get("rate") if isinstance(availability, dict) else availability)
    except Nonsense:
        return None
    if external_id is None or name is None:
        return None
    return HotelRow(
        external_id=external_id,
        name=name,
        star_rating=answer.whole(row.get("starRating"), 1, 5),
        image_url=answer.web_address(row.get("heroImage")),
        price=price,
        currency=currency or query.currency,
        price_for="stay",
        raw=row,
    )


def _offer(option_id: str, option: Any) -> RoomOffer | None:
    if not isinstance(option, dict):
        return None
    rate = option.get("rate")
    try:
        price, currency = _rate(rate)
    except Nonsense:
        return None
    if rate is None or price is None or currency is None:
        return None
    board = rate.get("boardBasis")
    board = board if isinstance(board, dict) else {}
    return RoomOffer(
        option_id=option_id,
        room_name=answer.text(option.get("roomName")),
        price=price,
        currency=currency,
        refundability=answer.text(rate.get("refundability")),
        board=answer.text(board.get("description")) or answer.text(board.get("type")),
        raw=option,
    )


def _rate(rate: Any) -> tuple[Decimal | None, str | None]:
    """Read a price and its currency.

    Returns None for both if there is no price. Raises Nonsense if a price has no currency.
    """
    if rate is None:
        return None, None
    if not isinstance(rate, dict):
        raise Nonsense("the price of an offer is not a JSON object")
    if rate.get("finalRate") is None:
        return None, None
    currency = (answer.text(rate.get("currency")) or "").upper()
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha()):
        raise Nonsense("the price has no currency")
    return answer.price(rate["finalRate"]), currency


def _identity(value: Any) -> str | None:
    number = answer.whole(value, 1, 2**63 - 1)
    return answer.text(value) if number is None else str(number)


def _rows(raw: Any) -> list[Any] | None:
    """Find the list of rows in a response. It may be in `results`, in `data`, or in one inside the
    other.

    Returns None if there is no list.
    """
    for key in ("results", "data"):
        if isinstance(raw, dict) and raw.get(key) is not None:
            raw = raw[key]
    return raw if isinstance(raw, list) else None


def _trace_id(raw: dict[str, Any]) -> str | None:
    return answer.text(_inside(raw).get("traceId")) or answer.text(raw.get("traceId"))


def _inside(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the object in `results`, or the whole response if it lacks this level."""
    results = raw.get("results")
    return results if isinstance(results, dict) else raw
