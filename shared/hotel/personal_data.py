"""What the hotel application stores of accounts."""

from shared.hotel.contracts.email import SEND_ACCOUNT_MAIL
from shared.hotel.contracts.payments import BIND_CUSTOMER, PROCESS, REFUND
from shared.personal.data import PersonalData, Rows, Then

PERSONAL_DATA = PersonalData(
    rows=(
        Rows(table="mail_preference", column="user", then=Then.DELETE, key=("kind",)),
        Rows(table="price_alert", column="user", then=Then.DELETE),
        Rows(
            table="push_subscription",
            column="user",
            then=Then.DELETE,
            withheld=frozenset({"p256dh", "auth"}),
        ),
        Rows(table="notification_log", column="user", then=Then.DELETE, key=("task", "channel", "target")),
        Rows(table="payment_customer", column="user", then=Then.DELETE, key=("customer",)),
        # The books have to be kept. Amount, status and the service's number lead to no person.
        Rows(table="payment", column="user", then=Then.DETACH, cleared=("error_message",)),
    ),
    about={BIND_CUSTOMER.name: "user_id", SEND_ACCOUNT_MAIL.name: "user_id"},
    # A charge that has begun is followed to its end, so that no payment is without a record.
    finish=frozenset({PROCESS.name, REFUND.name}),
)
