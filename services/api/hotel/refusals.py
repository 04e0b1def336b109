"""Defines the errors that the routes of the hotel application raise."""

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class UnknownLink(Refusal):
    """Raised when the token in a link is not from any mail that the platform sent."""

    status, kind = 404, "unknown-link"

    def __init__(self) -> None:
        super().__init__(
            "This link is incomplete, or is not from one of our mails. Open it from the mail again."
        )


class DestinationNotFound(Refusal):
    """Raised when no destination has this id."""

    status, kind = 404, "destination-not-found"

    def __init__(self, destination_id: int) -> None:
        super().__init__(
            f"There is no destination {destination_id}. "
            "GET /api/v1/admin/hotel-tracking/summary lists those that are tracked."
        )


class HotelNotFound(Refusal):
    """Raised when no hotel has this id."""

    status, kind = 422, "hotel-not-found"

    def __init__(self, hotel_id: int) -> None:
        problem = FieldProblem("hotel_id", "names no hotel")
        super().__init__(
            f"There is no hotel {hotel_id}. The result of a search contains the ids of hotels.", [problem]
        )


class AlertNotFound(Refusal):
    """Raised when no price alert has this id, or it belongs to another account."""

    status, kind = 404, "alert-not-found"

    def __init__(self, alert_id: int) -> None:
        super().__init__(
            f"There is no price alert {alert_id} among yours. GET /api/v1/price-alerts lists them."
        )


class SubscriptionNotFound(Refusal):
    """Raised when no push subscription has this id, or it belongs to another account."""

    status, kind = 404, "subscription-not-found"

    def __init__(self, subscription_id: int) -> None:
        super().__init__(
            f"There is no push subscription {subscription_id} among yours. "
            "GET /api/v1/push/subscriptions lists them."
        )


class PushSwitchedOff(Refusal):
    """Raised when push messages are switched off, because the platform has no private key to sign
    them.
    """

    status, kind = 409, "push-switched-off"

    def __init__(self) -> None:
        super().__init__("Push messages are switched off: an operator has to set VAPID_PRIVATE_KEY first.")
