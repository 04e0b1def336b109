"""The hotel application's tasks as its clients ask for them."""

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
    children_ages: Annotated[list[ChildAge], Meta(max_length=10, description="One for each child")] = field(
        default_factory=list
    )
    currency: CurrencyCode = "INR"
    nationality: Annotated[str, Meta(pattern=whole("[A-Z]{2}"), description="ISO 3166-1")] = "IN"
    filters: Filters = field(default_factory=Filters)
    max_pages: Annotated[int, Meta(ge=1, le=5, description="Asked for at each provider")] = 2


class NotificationBody(Body, kw_only=True):
    user_id: Id
    title: Annotated[str, Meta(min_length=1, max_length=200)]
    message: Annotated[str, Meta(min_length=1, max_length=2_000)]
    notification_type: Annotated[str, Meta(max_length=20, description="`push`")] = "push"
    data: dict[str, Any] | None = None


class PaymentBody(Body, kw_only=True):
    user_id: Id
    amount: Annotated[Amount, Meta(description='In the main unit, as text: "1250.00"')]
    currency: CurrencyCode
    payment_method: Annotated[str, Meta(max_length=110, description="`pm_…`, from the payment service")]
    customer: Annotated[str, Meta(max_length=110, description="`cus_…`")] | None = None


class ScanBody(Body, kw_only=True):
    observed_on: Annotated[date, Meta(description="The day that the prices count for; today")] | None = None
    days: Annotated[int, Meta(ge=1, le=365, description="Check-in days; the destination's own")] | None = None


class TrackingHealth(Answer):
    """ok or away; a count."""

    postgres: str
    redis: str
    #: Workers that serve the queue of the scans.
    workers: int
    #: Tasks of the scans that have not ended.
    open_tasks: int
