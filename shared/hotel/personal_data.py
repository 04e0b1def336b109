"""Declares the personal data that the hotel application stores about accounts."""

from shared.hotel.contracts.email import SEND_ACCOUNT_MAIL, SEND_RECEIPT
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
        # When an account is erased, its payments are kept without the account, because accounting
        # records must be kept. The amount, the status and the payment service's id identify no
        # person.
        Rows(table="payment", column="user", then=Then.DETACH, cleared=("error_message",)),
    ),
    about={BIND_CUSTOMER.name: "user_id", SEND_ACCOUNT_MAIL.name: "user_id"},
    # When an account is erased, a charge that has begun continues until its outcome is known, so
    # that no payment is without a record.
    finish=frozenset({PROCESS.name}),
    # When an account is erased, a refund is not canceled, because it is the customer's money. A
    # receipt is not canceled either, because its cancellation would refund a valid payment.
    owed=frozenset({REFUND.name, SEND_RECEIPT.name}),
)
