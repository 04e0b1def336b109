"""Makes up hotels for the simulated services. A place always has the same hotels, and a day the
same prices.
"""

import hashlib
from dataclasses import dataclass
from datetime import date

#: A search for a place whose name contains this text finds no hotels.
NOWHERE = "Nowhere"

KINDS = ("Resort", "Palace", "Inn", "Beach Hotel", "Residency", "Grand", "Boutique Stay", "Suites")
ADJECTIVES = ("Blue", "Old", "Golden", "Quiet", "Royal", "Green", "Little", "Sunny", "Silver")
NOUNS = ("Lagoon", "Banyan", "Harbour", "Lotus", "Fort", "Garden", "Palm", "Lantern", "Peacock", "Shore")
#: Base price per night in rupees, by star rating.
PRICES = {3: 2_600, 4: 5_200, 5: 11_500}
#: Rough exchange rates: amount of the currency per rupee. Other currencies count as rupees.
PER_RUPEE = {"INR": 1.0, "USD": 1 / 88, "EUR": 1 / 102, "GBP": 1 / 117, "JPY": 1.7, "AED": 1 / 24}


@dataclass(frozen=True, slots=True)
class MadeUpHotel:
    """A made-up hotel: the one with the number `index` in its place."""

    place_id: str
    index: int

    @property
    def name(self) -> str:
        return (
            f"{self._pick('adjective', ADJECTIVES)} {self._pick('noun', NOUNS)} "
            f"{self._pick('kind', KINDS)} {self.index + 1}"
        )

    @property
    def stars(self) -> int:
        return 3 + self._number("stars") % 3

    @property
    def guest_rating(self) -> float:
        return 3.4 + self._number("rating") % 16 / 10

    @property
    def reviews(self) -> int:
        return 20 + self._number("reviews") % 5_000

    @property
    def coordinates(self) -> dict[str, float]:
        return {
            "latitude": 15 + self._number("latitude") % 1_000 / 1_000,
            "longitude": 73 + self._number("longitude") % 1_000 / 1_000,
        }

    def price(self, check_in: date, currency: str, factor: float) -> float:
        """The price per night in `currency`. `factor` multiplies the original price, to simulate a
        price change.
        """
        kind = 0.7 + self._number("price") % 80 / 100
        season = 0.85 + self._number(f"price {check_in.isoformat()}") % 40 / 100
        return round(PRICES[self.stars] * kind * season * PER_RUPEE.get(currency, 1.0) * factor, 2)

    def _pick(self, what: str, among: tuple[str, ...]) -> str:
        return among[self._number(what) % len(among)]

    def _number(self, what: str) -> int:
        return stable_number(f"{self.place_id} {self.index} {what}")


def place_id(place: str) -> str:
    return f"{stable_number(' '.join(place.casefold().split())):016x}"


def stable_number(text: str) -> int:
    """A number below 2**63 that is derived from a text. It is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) >> 1
