"""Request bodies and answers for push subscriptions and price alerts."""

from datetime import date, datetime
from typing import Annotated

from msgspec import Meta

from services.api.http.schemas import Answer, Body, Id


class PushKeys(Body):
    p256dh: Annotated[str, Meta(max_length=200, description="base64url, a point of P-256")]
    auth: Annotated[str, Meta(max_length=50, description="base64url, 16 bytes")]


class SubscriptionBody(Body, rename="camel"):
    """A browser's push subscription, in the format of `PushSubscription.toJSON()` in JavaScript."""

    endpoint: Annotated[str, Meta(max_length=1_000)]
    keys: PushKeys
    expiration_time: float | None = None


class Subscription(Answer):
    """A push subscription without its endpoint, which is secret."""

    id: int
    #: Host name of the push service that delivers messages to the browser.
    host: str
    created_at: datetime
    last_used_at: datetime | None


class PushKey(Answer):
    #: The public key that the browser needs as `applicationServerKey` to subscribe to push
    #: messages.
    public_key: str


class PriceAlertBody(Body, kw_only=True):
    hotel_id: Id
    check_in: Annotated[date, Meta(description="First day of the stay. Left out: any stay")] | None = None
    check_out: date | None = None
    drop_percent: Annotated[
        float, Meta(ge=0.01, le=100, description="Minimum drop against the day before")
    ] = 5.0
    every_hours: Annotated[
        int, Meta(ge=1, le=720, description="Minimum number of hours between two mails")
    ] = 24


class PriceAlertAnswer(Answer):
    id: int
    hotel_id: int
    hotel_name: str
    check_in: date | None
    check_out: date | None
    drop_percent: float
    every_hours: int
    last_sent_at: datetime | None
    created_at: datetime
