"""Contracts of tasks that search hotels, observe their prices, and update them from providers."""

from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.objective import Objective
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule
from shared.errors import FieldProblem
from shared.hotel.contracts.money import CurrencyCode, check_currency

#: Retries of tasks that call a provider of hotel data. After several failures, a provider is not
#: called for half a minute. The attempts extend over more than 15 minutes.
RETRIES = Retries(max_attempts=8, delay=timedelta(seconds=5), cap=timedelta(minutes=10))
MAX_STAY = timedelta(days=30)

Stars = Annotated[int, Meta(ge=1, le=5)]
ChildAge = Annotated[int, Meta(ge=0, le=17)]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Filters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The filters of a hotel search. Prices are per night, in the currency of the search."""

    min_price: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    max_price: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    #: Accepted hotel classes, as numbers of stars.
    stars: Annotated[list[Stars], Meta(min_length=1, max_length=5)] | None = None
    #: Minimum rating by guests.
    min_rating: Annotated[float, Meta(ge=0, le=5)] | None = None
    free_cancellation: bool = False
    #: Order of the found hotels: relevance, price or rating.
    sort_by: Annotated[str, Meta(pattern=whole("relevance|price|rating"))] = "relevance"

    def __post_init__(self) -> None:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price must not be above max_price")


class SearchHotels(Params):
    #: Id of the account for which the search is made.
    user_id: Id
    destination: Annotated[str, Meta(min_length=1, max_length=200)]
    #: Day of arrival, today or later.
    check_in: date
    check_out: date
    adults: Annotated[int, Meta(ge=1, le=20)] = 2
    children: Annotated[int, Meta(ge=0, le=10)] = 0
    #: Ages of the children.
    children_ages: Annotated[list[ChildAge], Meta(max_length=10)] = msgspec.field(default_factory=list)
    currency: CurrencyCode = "INR"
    #: Country of the guests, as an ISO 3166-1 code. Some prices depend on it.
    nationality: Annotated[str, Meta(pattern=whole("[A-Z]{2}"))] = "IN"
    filters: Filters = msgspec.field(default_factory=Filters)
    #: Number of pages of results to request from each provider. SerpApi bills each page as one
    #: search.
    max_pages: Annotated[int, Meta(ge=1, le=5)] = 2

    def __post_init__(self) -> None:
        check_stay(self.check_in, self.check_out)
        check_currency("currency", self.currency)
        if len(self.children_ages) != self.children:
            count = len(self.children_ages)
            raise ValueError(f"children_ages must have one age per child: {self.children}, not {count}")


def check_stay(check_in: date, check_out: date) -> None:
    """Check that the dates of a stay are consistent. Raises ValueError.

    Whether the stay is in the future is not checked here but only for new tasks, because the stay
    of a stored task may have passed.
    """
    if check_out <= check_in:
        raise ValueError("check_out must be later than check_in")
    if check_out - check_in > MAX_STAY:
        raise ValueError(f"check_out must be at most {MAX_STAY.days} days after check_in")


def stay_lies_ahead(params: SearchHotels, now: datetime) -> list[FieldProblem]:
    """Check that a new search is for a stay in the future.

    A day counts as today as long as it is today anywhere on earth.
    """
    today = (now - timedelta(hours=12)).date()
    if params.check_in >= today:
        return []
    return [FieldProblem("params.check_in", f"must not lie in the past; today is {now.date()}")]


class FoundHotel(Result):
    """A hotel that a search found, with its best price for the stay."""

    #: Id of the hotel in our table `hotel`.
    id: int
    provider: str
    external_id: str
    name: str
    star_rating: int | None
    guest_rating: float | None
    #: Price of the stay; null if the provider knows the hotel but has no price.
    price: float | None
    #: Period that the price covers: "night" or "stay".
    price_for: str
    currency: str
    image_url: str | None


class ProviderReport(Result):
    """The result of a hotel search at one provider."""

    pages: int
    hotels: int
    #: Number of rows in the provider's answer that could not be read. They are stored with the
    #: answer.
    unreadable: int
    #: Error message of the provider's search; null after a success.
    error: str | None


class HotelsFound(Result):
    success: bool
    user_id: int
    search_criteria: SearchHotels
    hotels_found: int
    hotels: list[FoundHotel]
    providers: dict[str, ProviderReport]
    search_completed_at: datetime


class ScanDestination(Params):
    destination_id: Id
    #: Day on which prices are observed; null means today in UTC.
    observed_on: date | None = None
    #: Number of days of arrival whose prices are observed, beginning with `observed_on`; null means
    #: the destination's own setting.
    days: Annotated[int, Meta(ge=1, le=365)] | None = None


class DestinationScanned(Result):
    success: bool
    task_type: str
    destination_id: int
    destination_name: str
    tracking_days: int
    hotels_discovered: int
    price_records_created: int
    price_drops: int
    alerts_raised: int
    #: Number of rows in the provider's answers that could not be read. They are stored with the
    #: answers.
    unreadable: int
    completed_at: datetime


class SyncHotels(Params):
    #: Number of hotels that one child task updates.
    batch_size: Annotated[int, Meta(ge=1, le=500)] = 50


class HotelsSynced(Result):
    success: bool
    total_hotels: int
    batches_submitted: int
    sync_completed_at: datetime


class SyncHotelBatch(Params):
    hotel_ids: Annotated[list[Id], Meta(min_length=1, max_length=500)]


class HotelBatchSynced(Result):
    success: bool
    hotels_processed: int
    hotels_updated: int
    #: Error messages of hotels that were not updated, by hotel id.
    errors: dict[int, str]
    sync_completed_at: datetime


class SummariseTracking(Params):
    pass


class TrackedDestination(Result):
    name: str
    country: str
    tracking_days: int


class TrackingConfiguration(Result):
    start_from_today: bool
    stay_duration_days: int
    hotel_class_filter: list[int]
    default_adults: int
    #: Maximum number of hotels per destination: the maximum number of pages of a scan, multiplied
    #: by the provider's page size.
    max_hotels_per_destination: int


class TrackingStatistics(Result):
    hotels_tracked: int
    price_records_last_24h: int


class TrackingSummary(Result):
    tracking_enabled_destinations: int
    destinations: list[TrackedDestination]
    configuration: TrackingConfiguration
    statistics: TrackingStatistics


class TrackingSummarised(Result):
    success: bool
    task_type: str
    summary: TrackingSummary
    retrieved_at: datetime


#: Objective of price scans. A scan of all destinations takes hours, because each destination waits
#: for those before it.
SCAN = Objective(wait_p=(0.99, 900), urgency="ticket", expected_per_day=500)


SEARCH = Contract(
    name="hotels.search",
    queue="hotel_processing",
    objective=Objective(run_p=(0.95, 60), expected_per_day=10_000),
    params=SearchHotels,
    recipient="user_id",
    result=HotelsFound,
    rules_for_new=stay_lies_ahead,
    quota="searches",
    retries=RETRIES,
    time_limit=timedelta(minutes=10),
    # The priority is high, because a person is waiting for the result.
    priority=7,
    max_wait=timedelta(hours=1),
)

SCAN_DESTINATION = Contract(
    name="hotels.scan_destination",
    queue="hotel_tracking",
    objective=SCAN,
    params=ScanDestination,
    result=DestinationScanned,
    retries=RETRIES,
    staff_only=True,
    # A scan of 30 days with 20 pages each takes five minutes at two requests per second.
    time_limit=timedelta(hours=2),
)

SYNC = Contract(
    name="hotels.sync",
    queue="hotel_processing",
    objective=Objective(urgency="ticket", expected_per_day=1),
    params=SyncHotels,
    result=HotelsSynced,
    retries=RETRIES,
    staff_only=True,
    schedules=(
        Schedule(
            name="hotels.sync.daily",
            kind="cron",
            expression="30 2 * * *",
            params=SyncHotels(),
            overlap="skip",
        ),
    ),
)

SYNC_BATCH = Contract(
    name="hotels.sync_batch",
    queue="hotel_processing",
    objective=Objective(urgency="ticket", expected_per_day=100),
    params=SyncHotelBatch,
    result=HotelBatchSynced,
    retries=RETRIES,
    staff_only=True,
    priority=3,
)

SUMMARISE_TRACKING = Contract(
    name="hotels.tracking_summary",
    queue="hotel_tracking",
    objective=SCAN,
    params=SummariseTracking,
    result=TrackingSummarised,
    staff_only=True,
)
