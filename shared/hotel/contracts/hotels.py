"""Hotel search, price tracking and the copy of what providers know about hotels."""

from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule
from shared.errors import FieldProblem
from shared.hotel.contracts.money import CurrencyCode, check_currency

#: Providers rest for half a minute after failures; this many attempts outlast a quarter of an hour.
RETRIES = Retries(max_attempts=8, delay=timedelta(seconds=5), cap=timedelta(minutes=10))
LONGEST_STAY = timedelta(days=30)

Stars = Annotated[int, Meta(ge=1, le=5)]
ChildAge = Annotated[int, Meta(ge=0, le=17)]
Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Filters(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What narrows a search down; prices are per night in the search's currency."""

    min_price: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    max_price: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    #: Any of these.
    stars: Annotated[list[Stars], Meta(min_length=1, max_length=5)] | None = None
    #: Guests' rating, at least.
    min_rating: Annotated[float, Meta(ge=0, le=5)] | None = None
    free_cancellation: bool = False
    #: relevance, price or rating.
    sort_by: Annotated[str, Meta(pattern=whole("relevance|price|rating"))] = "relevance"

    def __post_init__(self) -> None:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise ValueError("min_price must not be above max_price")


class SearchHotels(Params):
    #: For whom it is searched.
    user_id: Id
    destination: Annotated[str, Meta(min_length=1, max_length=200)]
    #: Today or later.
    check_in: date
    check_out: date
    adults: Annotated[int, Meta(ge=1, le=20)] = 2
    children: Annotated[int, Meta(ge=0, le=10)] = 0
    #: One for each child.
    children_ages: Annotated[list[ChildAge], Meta(max_length=10)] = msgspec.field(default_factory=list)
    currency: CurrencyCode = "INR"
    #: Country whose guests' prices are asked for, ISO 3166-1.
    nationality: Annotated[str, Meta(pattern=whole("[A-Z]{2}"))] = "IN"
    filters: Filters = msgspec.field(default_factory=Filters)
    #: Pages asked for at each provider; a page of SerpApi costs one search.
    max_pages: Annotated[int, Meta(ge=1, le=5)] = 2

    def __post_init__(self) -> None:
        check_stay(self.check_in, self.check_out)
        check_currency("currency", self.currency)
        if len(self.children_ages) != self.children:
            count = len(self.children_ages)
            raise ValueError(f"children_ages must have one age per child: {self.children}, not {count}")


def check_stay(check_in: date, check_out: date) -> None:
    """Raises ValueError; that it lies ahead is checked where it is asked for, not where it is read again."""
    if check_out <= check_in:
        raise ValueError("check_out must be later than check_in")
    if check_out - check_in > LONGEST_STAY:
        raise ValueError(f"check_out must be at most {LONGEST_STAY.days} days after check_in")


def stay_lies_ahead(params: SearchHotels, now: datetime) -> list[FieldProblem]:
    """A rule for new tasks; today counts as long as it lasts anywhere on earth."""
    today = (now - timedelta(hours=12)).date()
    if params.check_in >= today:
        return []
    return [FieldProblem("params.check_in", f"must not lie in the past; today is {now.date()}")]


class FoundHotel(Result):
    """A hotel with its best price for the stay."""

    #: Of our own table.
    id: int
    provider: str
    external_id: str
    name: str
    star_rating: int | None
    guest_rating: float | None
    #: Null where the provider knows the hotel and has no price.
    price: float | None
    #: night or stay: what the price pays for, as the provider has it.
    price_for: str
    currency: str
    image_url: str | None


class ProviderReport(Result):
    """How one provider's part of a search went."""

    pages: int
    hotels: int
    #: Rows that could not be read; they are kept raw with the answer.
    unreadable: int
    #: Null where it worked.
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
    #: The day that the prices count for; null: today in UTC.
    observed_on: date | None = None
    #: Check-in days from `observed_on` on; null: the destination's own number.
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
    #: Rows that could not be read; they are kept raw with the answer.
    unreadable: int
    completed_at: datetime


class SyncHotels(Params):
    #: Hotels per task.
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
    #: Hotel id and what is wrong with it.
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
    #: At the page size that the provider has.
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


SEARCH = Contract(
    name="hotels.search",
    queue="hotel_processing",
    params=SearchHotels,
    recipient="user_id",
    result=HotelsFound,
    rules_for_new=stay_lies_ahead,
    quota="searches",
    retries=RETRIES,
    time_limit=timedelta(minutes=10),
    # Somebody waits for it.
    priority=7,
    max_wait=timedelta(hours=1),
)

SCAN_DESTINATION = Contract(
    name="hotels.scan_destination",
    queue="hotel_tracking",
    params=ScanDestination,
    result=DestinationScanned,
    retries=RETRIES,
    staff_only=True,
    # 30 days of 20 pages at two a second take five minutes.
    time_limit=timedelta(hours=2),
)

SYNC = Contract(
    name="hotels.sync",
    queue="hotel_processing",
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
    params=SyncHotelBatch,
    result=HotelBatchSynced,
    retries=RETRIES,
    staff_only=True,
    priority=3,
)

SUMMARISE_TRACKING = Contract(
    name="hotels.tracking_summary",
    queue="hotel_tracking",
    params=SummariseTracking,
    result=TrackingSummarised,
    staff_only=True,
)
