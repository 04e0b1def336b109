"""A hotel search for tests in which its details do not matter."""

from datetime import date
from typing import Any

from services.worker.hotel.gateways.hotel_page import HotelQuery


def query(**fields: Any) -> HotelQuery:
    given: dict[str, Any] = {
        "place": "Candolim, Goa, India",
        "check_in": date(2030, 1, 10),
        "check_out": date(2030, 1, 12),
        "adults": 2,
        "currency": "INR",
    }
    return HotelQuery(**given | fields)
