"""The sandbox's SerpApi: Google Hotels and the account, with the API key `sandbox`.

`PUT /sandbox/serpapi` changes its plan, its prices and its unreadable rows.
"""

from collections import Counter
from datetime import date
from typing import Annotated, Any

from litestar import Request, Response, Router, get, put
from litestar.di import NamedDependency, Provide
from litestar.params import JSONBody
from msgspec import Meta, Struct

from local.sandbox.hotels import NOWHERE, MadeUpHotel, place_id, stable_number

KEY = "sandbox"
PAGE_SIZE, PAGES = 18, 3
HOURLY_LIMIT = 1_000
#: Row numbers on a page of results at which a row is unusual, such as one that is sold out or has
#: only a total price.
SOLD_OUT, RENTAL, ONLY_TOTAL, ONLY_OFFERS = 5, 9, 12, 15
MIN_RATING = {"7": 3.5, "8": 4.0, "9": 4.5}
ORDERS = ("3", "8", "13")
EMPTY = "Google Hotels hasn't returned any results for this query."

Asked = Request[Any, Any, Any]
Parameters = dict[str, str]


class Turn(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of a request that changes the simulated SerpApi. Fields that are left out keep their
    value.
    """

    searches_left: Annotated[int, Meta(ge=0)] | None = None
    #: Factor by which the original prices are multiplied.
    price_factor: Annotated[float, Meta(gt=0)] | None = None
    hourly_limit_reached: bool | None = None
    #: Number of unreadable rows at the end of each page of results.
    nonsense_rows: Annotated[int, Meta(ge=0, le=100)] | None = None


class Refusal(Exception):
    """Raised to answer with an error in SerpApi's own format."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class SerpApi:
    """The simulated SerpApi: the account and its plan."""

    name = "serpapi"

    def __init__(self) -> None:
        self.settings = Turn(
            searches_left=10_000, price_factor=1.0, hourly_limit_reached=False, nonsense_rows=0
        )
        self._searches: Counter[str] = Counter()
        #: All hotels that have appeared on pages of results, by name. A search for the name of one
        #: is answered with its details.
        self._by_name: dict[str, MadeUpHotel] = {}
        self._details = 0
        self._account_requests = 0
        self._refused = 0

    def router(self) -> Router:
        itself = Provide(lambda: self, sync_to_thread=False)
        return Router("/", route_handlers=[search, account, turn], dependencies={"serpapi": itself})

    def books(self) -> dict[str, Any]:
        return {
            "searches": self._searches.total(),
            "searches_by_q": dict(self._searches),
            "details": self._details,
            "account_requests": self._account_requests,
            "refused": self._refused,
            "searches_left": self.settings.searches_left,
        }

    def turn(self, change: Turn) -> None:
        for name in change.__struct_fields__:
            if getattr(change, name) is not None:
                setattr(self.settings, name, getattr(change, name))

    def search(self, parameters: Parameters) -> dict[str, Any]:
        """Answer a hotel search. Raises Refusal."""
        check_key(parameters)
        check_in, check_out = check_search(parameters)
        self._spend()
        self._searches[parameters["q"]] += 1
        if "property_token" in parameters:
            self._details += 1
            found = self._hotel(parameters, check_in, check_out)
        elif NOWHERE in parameters["q"]:
            found = {"error": EMPTY}
        elif hotel := self._by_name.get(parameters["q"].strip().casefold()):
            found = self._details_of(hotel, parameters, check_in, check_out)
        else:
            found = self._page(parameters, check_in, check_out)
        echo = {name: value for name, value in parameters.items() if name != "api_key"}
        identity = f"{stable_number(str(sorted(echo.items()))):016x}"
        metadata = {"id": identity, "status": "Success", "total_time_taken": 0.01}
        return {"search_metadata": metadata, "search_parameters": echo, **found}

    def account(self, parameters: Parameters) -> dict[str, Any]:
        """Answer a request for the state of the account. Raises Refusal."""
        check_key(parameters)
        self._account_requests += 1
        return {
            "plan_searches_left": self.settings.searches_left,
            "total_searches_left": self.settings.searches_left,
            "this_hour_searches": self._searches.total(),
            "account_rate_limit_per_hour": HOURLY_LIMIT,
        }

    def count_refusal(self) -> None:
        self._refused += 1

    def _spend(self) -> None:
        if self.settings.hourly_limit_reached:
            raise Refusal(429, "Your account has reached its hourly throughput limit.")
        # For the type checker: the setting's type is optional, but it is never None.
        assert self.settings.searches_left is not None
        if not self.settings.searches_left:
            raise Refusal(429, "Your account has run out of searches.")
        self.settings.searches_left -= 1

    def _page(self, parameters: Parameters, check_in: date, check_out: date) -> dict[str, Any]:
        place = place_id(parameters["q"])
        start = first_row(parameters.get("next_page_token"), place)
        hotels = [MadeUpHotel(place, index) for index in range(PAGE_SIZE * PAGES)]
        self._by_name |= {hotel.name.casefold(): hotel for hotel in hotels}
        rows = [self._row(hotel, parameters, check_in, check_out) for hotel in hotels]
        rows = in_order([row for row in rows if fits(row, parameters)], parameters.get("sort_by"))
        end = start + PAGE_SIZE
        pagination: dict[str, Any] = {"current_from": start + 1, "current_to": min(end, len(rows))}
        if end < len(rows):
            pagination["next_page_token"] = f"{place}.{end}"
        page = rows[start:end] + [nonsense()] * (self.settings.nonsense_rows or 0)
        if not page:
            return {"error": EMPTY}
        return {
            "search_information": {"total_results": len(rows)},
            "properties": page,
            "serpapi_pagination": pagination,
        }

    def _hotel(self, parameters: Parameters, check_in: date, check_out: date) -> dict[str, Any]:
        place, _, index = parameters["property_token"].rpartition("-")
        if not place or not index.isdecimal() or int(index) >= PAGE_SIZE * PAGES:
            return {"error": EMPTY}
        return self._details_of(MadeUpHotel(place, int(index)), parameters, check_in, check_out)

    def _details_of(
        self, hotel: MadeUpHotel, parameters: Parameters, check_in: date, check_out: date
    ) -> dict[str, Any]:
        """The details of one hotel, which SerpApi returns at the top level of the answer. They have
        more fields than a row of a list.
        """
        return self._row(hotel, parameters, check_in, check_out) | {
            "address": f"{hotel.index + 1}, Beach Road",
            "phone": "000 0000",
        }

    def _row(
        self, hotel: MadeUpHotel, parameters: Parameters, check_in: date, check_out: date
    ) -> dict[str, Any]:
        # For the type checker: the setting's type is optional, but it is never None.
        assert self.settings.price_factor is not None
        currency = parameters.get("currency", "USD")
        night = hotel.price(check_in, currency, self.settings.price_factor)
        nights = (check_out - check_in).days
        place = hotel.index % PAGE_SIZE
        image = f"https://images.often-hotels.example/{hotel.place_id}/{hotel.index}.jpg"
        row: dict[str, Any] = {
            "type": "hotel",
            "name": hotel.name,
            "property_token": f"{hotel.place_id}-{hotel.index}",
            "gps_coordinates": hotel.coordinates,
            "overall_rating": hotel.guest_rating,
            "reviews": hotel.reviews,
            "images": [{"thumbnail": image, "original_image": image}],
            "hotel_class": f"{hotel.stars}-star hotel",
            "extracted_hotel_class": hotel.stars,
        }
        if place == RENTAL:
            del row["hotel_class"], row["extracted_hotel_class"]
            row["type"] = "vacation rental"
        if place == ONLY_OFFERS:
            row["prices"] = [{"source": "Nobody"}, {"source": "A", "rate_per_night": rate(night, currency)}]
        elif place != SOLD_OUT:
            row["total_rate"] = rate(round(night * nights, 2), currency)
            if place != ONLY_TOTAL:
                row["rate_per_night"] = rate(night, currency)
        return row


@get(["/serpapi/search.json", "/serpapi/search"])
async def search(request: Asked, serpapi: NamedDependency[SerpApi]) -> Response[dict[str, Any]]:
    return answered(serpapi, serpapi.search, request)


@get("/serpapi/account.json")
async def account(request: Asked, serpapi: NamedDependency[SerpApi]) -> Response[dict[str, Any]]:
    return answered(serpapi, serpapi.account, request)


@put("/sandbox/serpapi")
async def turn(data: JSONBody[Turn], serpapi: NamedDependency[SerpApi]) -> Turn:
    serpapi.turn(data)
    return serpapi.settings


def answered(serpapi: SerpApi, work: Any, request: Asked) -> Response[dict[str, Any]]:
    try:
        return Response(work({name: str(value) for name, value in request.query_params.items()}))
    except Refusal as refusal:
        serpapi.count_refusal()
        return Response({"error": refusal.text}, status_code=refusal.status)


def check_key(parameters: Parameters) -> None:
    if parameters.get("api_key") != KEY:
        key_page = "https://serpapi.com/manage-api-key"
        raise Refusal(401, f"Invalid API key. Your API key should be here: {key_page}")


def check_search(parameters: Parameters) -> tuple[date, date]:
    """Check the parameters of a hotel search. Returns the first and last day of the stay. Raises
    Refusal.
    """
    for name in ("engine", "q", "check_in_date", "check_out_date"):
        if not parameters.get(name):
            raise Refusal(400, f"Missing query `{name}` parameter.")
    if parameters["engine"] != "google_hotels":
        raise Refusal(400, f"Unsupported `{parameters['engine']}` search engine.")
    check_choices(parameters)
    check_guests(parameters)
    try:
        check_in = date.fromisoformat(parameters["check_in_date"])
        check_out = date.fromisoformat(parameters["check_out_date"])
    except ValueError:
        raise Refusal(400, "`check_in_date` and `check_out_date` must be written YYYY-MM-DD.") from None
    if check_out <= check_in:
        raise Refusal(400, "`check_out_date` must be later than `check_in_date`.")
    return check_in, check_out


def check_choices(parameters: Parameters) -> None:
    for name, choices in (("rating", MIN_RATING), ("sort_by", ORDERS), ("hotel_class", "2345")):
        values = parameters[name].split(",") if name in parameters else []
        if any(value not in choices or not value for value in values):
            raise Refusal(400, f"Unsupported value for `{name}`.")


def check_guests(parameters: Parameters) -> None:
    ages = parameters["children_ages"].split(",") if "children_ages" in parameters else []
    if str(len(ages)) != parameters.get("children", "0"):
        raise Refusal(400, "`children_ages` must have one age for each of `children`.")
    if not all(age.isdecimal() and 1 <= int(age) <= 17 for age in ages):
        raise Refusal(400, "`children_ages` must be between 1 and 17.")
    adults = parameters.get("adults", "2")
    if not adults.isdecimal() or not int(adults):
        raise Refusal(400, "`adults` must be at least 1.")


def first_row(token: str | None, place: str) -> int:
    if token is None:
        return 0
    of, _, start = token.rpartition(".")
    if of != place or not start.isdecimal():
        raise Refusal(400, "`next_page_token` belongs to another search.")
    return int(start)


def fits(row: dict[str, Any], parameters: Parameters) -> bool:
    classes = parameters.get("hotel_class", "")
    if classes and str(row.get("extracted_hotel_class")) not in classes.split(","):
        return False
    if row["overall_rating"] < MIN_RATING.get(parameters.get("rating", ""), 0):
        return False
    least, most = float(parameters.get("min_price", 0)), float(parameters.get("max_price", "inf"))
    return not row_price(row) or least <= row_price(row) <= most


def in_order(rows: list[dict[str, Any]], sort_by: str | None) -> list[dict[str, Any]]:
    if sort_by == "3":
        return sorted(rows, key=lambda row: row_price(row) or float("inf"))
    if sort_by in ("8", "13"):
        what = "overall_rating" if sort_by == "8" else "reviews"
        return sorted(rows, key=lambda row: row[what], reverse=True)
    return rows


def row_price(row: dict[str, Any]) -> float:
    """The price per night in a row of results; 0 if the row has none."""
    price: float = row.get("rate_per_night", {}).get("extracted_lowest", 0)
    return price


def rate(amount: float, currency: str) -> dict[str, Any]:
    return {"lowest": f"{currency} {amount:,.0f}", "extracted_lowest": amount}


def nonsense() -> dict[str, Any]:
    return {"type": "hotel", "name": 17, "property_token": "", "rate_per_night": {"extracted_lowest": "much"}}
