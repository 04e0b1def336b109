"""The sandbox's TravClan: tokens, places, hotel searches (Volt), rooms. Merchant, user and key are
all `sandbox`.

`PUT /sandbox/travclan` expires tokens and changes prices and unreadable rows. Answers whose format
is not publicly known, such as places and static content, have a made-up format.
"""

import time
from collections import Counter
from datetime import date
from itertools import count
from typing import Annotated, Any

from litestar import Request, Response, Router, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from local.sandbox.hotels import NOWHERE, MadeUpHotel, place_id, stable_number

CREDENTIALS = {"merchant_id": "sandbox", "user_id": "sandbox", "api_key": "sandbox"}
#: Lifetime of an access token in seconds, if the simulated answer does not state it.
DEFAULT_LIFE_S = 3_600
HOTELS = 45
#: One row in this many has no price, as if the hotel were sold out.
SOLD_OUT = 9
EXPIRED = {"error": {"message": "Unauthorized", "errors": ["Token Expired. Unauthorized"]}}
SEARCH_FIELDS = ("checkIn", "checkOut", "nationality", "occupancies", "locationId", "page", "pageSize")

Asked = Request[Any, Any, Any]
Body = dict[str, Any]


class Turn(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of a request that changes the simulated TravClan. Fields that are left out keep
    their value.
    """

    #: Whether to expire all present access tokens. They can be refreshed.
    expire_tokens: bool = False
    #: Whether to expire all present refresh tokens.
    expire_refresh_tokens: bool = False
    #: Lifetime of new tokens in seconds, by the name of the field that states it, as in
    #: {"expires_in": "60"}. An empty object omits the field from the answer.
    expiry: Annotated[dict[str, float | str], Meta(max_length=1)] | None = None
    price_factor: Annotated[float, Meta(gt=0)] | None = None
    #: Number of unreadable rows at the end of each page of results.
    nonsense_rows: Annotated[int, Meta(ge=0, le=100)] | None = None


class Refusal(Exception):
    """Raised to answer with an error in TravClan's own format."""

    def __init__(self, status: int, body: Body) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


class TravClan:
    """The simulated TravClan: the account of one merchant."""

    name = "travclan"

    def __init__(self) -> None:
        #: For each access token, the time at which it expires, by the monotonic clock.
        self._access: dict[str, float] = {}
        self._refresh: set[str] = set()
        self._traces: set[str] = set()
        self._expiry: dict[str, float | str] = {"ExpiresIn": DEFAULT_LIFE_S}
        self._price_factor = 1.0
        self._nonsense_rows = 0
        self._numbers = count(1)
        self._counts: Counter[str] = Counter()
        self._searches: Counter[int] = Counter()

    def router(self) -> Router:
        itself = Provide(lambda: self, sync_to_thread=False)
        handlers = [login, refresh, locations, static_content, search, rooms, turn]
        return Router("/", route_handlers=handlers, dependencies={"travclan": itself})

    def books(self) -> dict[str, Any]:
        return {
            "logins": self._counts["logins"],
            "refreshes": self._counts["refreshes"],
            "location_searches": self._counts["location_searches"],
            "searches": self._searches.total(),
            "searches_by_location": {str(location): n for location, n in self._searches.items()},
            "rooms": self._counts["rooms"],
            "static_content": self._counts["static_content"],
            "refused": self._counts["refused"],
        }

    def turn(self, change: Turn) -> None:
        if change.expire_tokens:
            self._access.clear()
        if change.expire_refresh_tokens:
            self._refresh.clear()
        if change.expiry is not None:
            self._expiry = change.expiry
        if change.price_factor is not None:
            self._price_factor = change.price_factor
        if change.nonsense_rows is not None:
            self._nonsense_rows = change.nonsense_rows

    def refuse(self, status: int, body: Body) -> Refusal:
        self._counts["refused"] += 1
        return Refusal(status, body)

    def check(self, request: Asked) -> None:
        """Check the token and the headers of a request. Raises Refusal if one is invalid."""
        if request.headers.get("authorization-type") != "external-service":
            raise self.refuse(403, {"message": "Authorization-Type is not external-service"})
        if request.headers.get("source") != "website":
            raise self.refuse(403, {"message": "source is not website"})
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if self._access.get(token, 0.0) <= time.monotonic():
            raise self.refuse(401, EXPIRED)

    def login(self, credentials: Body) -> Body:
        self._counts["logins"] += 1
        if credentials != CREDENTIALS:
            raise self.refuse(401, {"message": "Invalid credentials"})
        number = next(self._numbers)
        self._refresh.add(f"made-up-refresh-{number}")
        return self._tokens() | {"RefreshToken": f"made-up-refresh-{number}"}

    def refresh(self, body: Body) -> Body:
        self._counts["refreshes"] += 1
        if body.get("refresh_token") not in self._refresh:
            raise self.refuse(401, {"message": "Invalid refresh token"})
        return self._tokens()

    def locations(self, text: str) -> Body:
        self._counts["location_searches"] += 1
        if NOWHERE in text:
            return {"results": []}
        # The location id is below 2**31, so that clients that store numbers as floats keep it
        # exact.
        location = stable_number(place_id(text)) % 2**31
        hotel = {"id": location + 1, "name": f"Hotel {text}", "type": "Hotel"}
        city = {"id": location, "name": text, "type": "City", "coordinates": {"lat": 15.5, "long": 73.8}}
        return {"results": [hotel, {"name": f"{text} Airport", "type": "Airport"}, city]}

    def static_content(self, hotel_id: str) -> Body:
        self._counts["static_content"] += 1
        hotel = self._hotel(hotel_id)
        return {"results": {"id": hotel_id, "name": hotel.name, "starRating": hotel.stars}}

    def search(self, body: Body) -> Body:
        missing = [name for name in SEARCH_FIELDS if body.get(name) in (None, [], "")]
        if missing:
            raise self.refuse(400, {"message": f"{missing[0]} is required"})
        trace_id = body.get("traceId") or f"made-up-trace-{next(self._numbers)}"
        if body.get("traceId") not in (None, *self._traces):
            raise self.refuse(400, {"message": "traceId is not known"})
        self._traces.add(trace_id)
        self._searches[body["locationId"]] += 1
        start = (body["page"] - 1) * body["pageSize"]
        indexes = range(HOTELS)[start : start + body["pageSize"]]
        rows = [self._row(body["locationId"], index, body) for index in indexes]
        return {"results": {"data": rows + [nonsense()] * self._nonsense_rows, "traceId": trace_id}}

    def rooms(self, body: Body) -> Body:
        if body.get("traceId") not in self._traces:
            raise self.refuse(400, {"message": "traceId is not known"})
        self._counts["rooms"] += 1
        hotel = self._hotel(str(body.get("hotelId")))
        options = {
            f"option-{number}": {
                "roomName": room,
                "rate": {
                    "finalRate": round(1_000 * hotel.stars * factor * self._price_factor, 2),
                    "currency": "INR",
                    "boardBasis": {"description": board, "type": board.split()[0]},
                    "refundability": refundability,
                },
            }
            for number, (room, factor, board, refundability) in enumerate(
                (("Double room", 1.0, "Room only", "Refundable"), ("Suite", 2.2, "Bed and breakfast", "None"))
            )
        }
        options |= {f"nonsense-{number}": nonsense() for number in range(self._nonsense_rows)}
        rooms = {"room-0": {"name": "Double room"}, "room-1": {"name": "Suite"}}
        return {"results": {"options": options, "rooms": rooms}, "traceId": body["traceId"]}

    def _tokens(self) -> Body:
        token = f"made-up-access-{next(self._numbers)}"
        life_s = float(next(iter(self._expiry.values()), DEFAULT_LIFE_S))
        self._access[token] = time.monotonic() + life_s
        return {"AccessToken": token, **self._expiry}

    def _hotel(self, hotel_id: str) -> MadeUpHotel:
        location, _, index = hotel_id.rpartition("-")
        if not location or not index.isdecimal():
            raise self.refuse(404, {"error": {"message": "Hotel not found", "errors": []}})
        return MadeUpHotel(location, int(index))

    def _row(self, location: int, index: int, body: Body) -> Body:
        hotel = MadeUpHotel(str(location), index)
        check_in, check_out = date.fromisoformat(body["checkIn"]), date.fromisoformat(body["checkOut"])
        identity = f"{location}-{index}"
        # Odd and even rows spell the field names differently, because TravClan uses both spellings
        # and clients have to accept both.
        row: Body = (
            {"hotelId": identity, "name": hotel.name}
            if index % 2
            else {"id": identity, "hotelName": hotel.name}
        )
        row |= {
            "starRating": hotel.stars,
            "heroImage": f"https://images.often-hotels.example/{identity}.jpg",
        }
        if index % SOLD_OUT != SOLD_OUT - 1:
            stay = hotel.price(check_in, "INR", self._price_factor) * (check_out - check_in).days
            row["availability"] = {"rate": {"finalRate": round(stay, 2), "currency": "INR"}}
        return row


@post("/travclan/auth/authentication/internal/service/login", status_code=200)
async def login(data: JSONBody[Body], travclan: NamedDependency[TravClan]) -> Response[Body]:
    return answered(lambda: travclan.login(data))


@post("/travclan/auth/authentication/internal/service/refresh", status_code=200)
async def refresh(data: JSONBody[Body], travclan: NamedDependency[TravClan]) -> Response[Body]:
    return answered(lambda: travclan.refresh(data))


@get("/travclan/hotel/api/v1/locations/search")
async def locations(request: Asked, travclan: NamedDependency[TravClan]) -> Response[Body]:
    text = str(request.query_params.get("searchString", ""))
    return answered(lambda: travclan.locations(text), travclan, request)


@get("/travclan/hotel/api/v1/hotels/{hotel_id:str}/static-content")
async def static_content(
    hotel_id: FromPath[str], request: Asked, travclan: NamedDependency[TravClan]
) -> Response[Body]:
    return answered(lambda: travclan.static_content(hotel_id), travclan, request)


@post("/travclan/volt/api/v1/search", status_code=200)
async def search(data: JSONBody[Body], request: Asked, travclan: NamedDependency[TravClan]) -> Response[Body]:
    return answered(lambda: travclan.search(data), travclan, request)


@post("/travclan/volt/api/v1/roomsandrates", status_code=200)
async def rooms(data: JSONBody[Body], request: Asked, travclan: NamedDependency[TravClan]) -> Response[Body]:
    return answered(lambda: travclan.rooms(data), travclan, request)


@put("/sandbox/travclan")
async def turn(data: JSONBody[Turn], travclan: NamedDependency[TravClan]) -> None:
    travclan.turn(data)


def answered(work: Any, travclan: TravClan | None = None, request: Asked | None = None) -> Response[Body]:
    """Answer with the result of `work`, or with the Refusal that it raises.

    If a request is given, its token and headers are checked first.
    """
    try:
        if travclan is not None and request is not None:
            travclan.check(request)
        return Response(work(), status_code=200)
    except Refusal as refusal:
        return Response(refusal.body, status_code=refusal.status)


def nonsense() -> Body:
    return {"id": None, "hotelName": ["?"], "availability": {"rate": {"finalRate": "?", "currency": 5}}}
