"""What the routes of the hotel application refuse."""

from services.api.http.refusals import Refusal
from shared.errors import FieldProblem


class UnknownLink(Refusal):
    """No mail carried this link."""

    status, kind = 404, "unknown-link"

    def __init__(self) -> None:
        super().__init__("This link is not one of ours, or not whole. Open it from the mail again.")


class DestinationNotFound(Refusal):
    """No destination has this id."""

    status, kind = 404, "destination-not-found"

    def __init__(self, destination_id: int) -> None:
        super().__init__(
            f"There is no destination {destination_id}. "
            "GET /api/v1/admin/hotel-tracking/summary lists those that are tracked."
        )


class HotelNotFound(Refusal):
    """No hotel has this id."""

    status, kind = 422, "hotel-not-found"

    def __init__(self, hotel_id: int) -> None:
        problem = FieldProblem("hotel_id", "names no hotel")
        super().__init__(f"There is no hotel {hotel_id}. A search's result names hotels' ids.", [problem])


class AlertNotFound(Refusal):
    """No price alert has this id, or it belongs to another account."""

    status, kind = 404, "alert-not-found"

    def __init__(self, alert_id: int) -> None:
        super().__init__(
            f"There is no price alert {alert_id} among yours. GET /api/v1/price-alerts lists them."
        )


class SubscriptionNotFound(Refusal):
    """No push subscription has this id, or it belongs to another account."""

    status, kind = 404, "subscription-not-found"

    def __init__(self, subscription_id: int) -> None:
        super().__init__(
            f"There is no push subscription {subscription_id} among yours. "
            "GET /api/v1/push/subscriptions lists them."
        )


class PushSwitchedOff(Refusal):
    """This platform has no key to sign pushes with."""

    status, kind = 409, "push-switched-off"

    def __init__(self) -> None:
        super().__init__("Pushes are switched off here: an operator has to set VAPID_PRIVATE_KEY first.")
