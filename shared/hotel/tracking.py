"""The defaults and the statistics of price tracking, for a task and for the API.

Price tracking observes the prices of the hotels in tracked destinations every day.
"""

from typing import Any, Protocol

from shared.hotel import hotels, pricing
from shared.hotel.contracts.hotels import (
    TrackedDestination,
    TrackingConfiguration,
    TrackingStatistics,
    TrackingSummary,
)

#: Default parameters of a price scan, for destinations that have none of their own.
DEFAULT_DAYS = 30
STAY_NIGHTS = 1
STARS = (4, 5)
MIN_RATING = 4.0
ADULTS = 1
CURRENCY = "INR"
NATIONALITY = "IN"
MAX_PAGES = 20
#: Maximum number of hotels on one page of SerpApi's results.
PAGE_SIZE = 20

CONFIGURATION = TrackingConfiguration(
    start_from_today=True,
    stay_duration_days=STAY_NIGHTS,
    hotel_class_filter=list(STARS),
    default_adults=ADULTS,
    max_hotels_per_destination=MAX_PAGES * PAGE_SIZE,
)


class Rows(Protocol):
    """A database client that runs an SQL statement and returns its rows."""

    async def run(self, sql: str, *values: Any) -> list[dict[str, Any]]: ...


async def summary(database: Rows) -> TrackingSummary:
    """Read the figures of price tracking: its destinations, defaults and statistics.

    Raises ServerUnavailable.
    """
    tracked = await database.run(hotels.TRACKED_DESTINATIONS)
    (counts,) = await database.run(pricing.SUMMARY)
    return TrackingSummary(
        tracking_enabled_destinations=len(tracked),
        destinations=[
            TrackedDestination(
                name=row["name"],
                country=row["country"],
                tracking_days=row["tracking_days"] or DEFAULT_DAYS,
            )
            for row in tracked
        ],
        configuration=CONFIGURATION,
        statistics=TrackingStatistics(**counts),
    )
