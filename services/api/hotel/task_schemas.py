"""Request bodies of the hotel application's tasks."""

from datetime import date
from typing import Annotated, Any

from msgspec import Meta, field

from services.api.http.schemas import Answer, Body, Id
from shared.contracts.patterns import whole
from shared.hotel.contracts.hotels import ChildAge, Filters
from shared.hotel.contracts.money import Amount, CurrencyCode


class MailBody(Body):
    user_id: Id
    email_type: Annotated[str, Meta(max_length=100, description="`welcome` or `price_alert`")]
    data: dict[str, Any] = field(default_factory=dict)


class SearchBody(Body, kw_only=True):
    destination: Annotated[str, Meta(min_length=1, max_length=200)]
    check_in: Annotated[date, Meta(description="Today or later")]
    check_out: date
    guests: Annotated[int, Meta(ge=1, le=20, description="Adults")] = 2
    children: Annotated[int, Meta(ge=0, le=10)] = 0
    children_ages: Annotated[list[ChildAge], Meta(max_length=10, description="One age for each child")] = (
        field(default_factory=list)
    )
    currency: CurrencyCode = "INR"
    nationality: Annotated[str, Meta(pattern=whole("[A-Z]{2}"), description="ISO 3166-1")] = "IN"
    filters: Filters = field(default_factory=Filters)
    max_pages: Annotated[int, Meta(ge=1, le=5, description="For each provider")] = 2


class NotificationBody(Body, kw_only=True):
    user_id: Id
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    message: Annotated[str, Meta(min_length=1, max_length=2_000)]
    notification_type: Annotated[str, Meta(max_length=20, description="`push`")] = "push"
    data: dict[str, Any] | None = None


class PaymentBody(Body, kw_only=True):
    user_id: Id
    amount: Annotated[Amount, Meta(description='In the main unit of the currency, as text: "1250.00"')]
    currency: CurrencyCode
    payment_method: Annotated[str, Meta(max_length=110, description="`pm_…`, from the payment service")]
    customer: Annotated[str, Meta(max_length=110, description="`cus_…`")] | None = None


class ScanBody(Body, kw_only=True):
    observed_on: Annotated[date, Meta(description="The day of the prices. Left out: today")] | None = None
    days: (
        Annotated[
            int,
            Meta(ge=1, le=365, description="Number of check-in days. Left out: as set for the destination"),
        ]
        | None
    ) = None


class TrackingHealth(Answer):
    """The health of price tracking. The states of servers are "ok" or "away"; the other fields are
    counts.
    """

    postgres: str
    redis: str
    #: Number of workers that serve the queue of the price scans.
    workers: int
    #: Number of unfinished tasks in the queue of the price scans.
    open_tasks: int
