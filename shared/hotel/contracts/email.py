"""Mail to the hotel application's users."""

from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from shared.contracts.account_mail import CONFIRMATION_LIFE, AccountMailKind, SendAccountMail
from shared.contracts.contract import HIGHEST_PRIORITY, Contract, Params, Result, Retries
from shared.contracts.patterns import whole
from shared.hotel.contracts.money import CurrencyCode, check_currency

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Price = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
#: Web addresses only: a mail must not carry `javascript:`.
Link = Annotated[str, msgspec.Meta(pattern=whole(r"https?://[^\s<>\"]+"), max_length=2000)]


class SendWelcome(Params):
    #: Whom to welcome; the address comes from the account, never from the caller.
    user_id: int


class MailSent(Result):
    success: bool
    user_id: int
    #: Where the mail went.
    email: str
    template: str
    sent_at: datetime
    message: str
    #: Recipients that the mail server refused while it took others, with its reply.
    refused: dict[str, str]


class PriceAlert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A price that has fallen."""

    hotel_name: Line
    #: ISO 4217.
    currency: CurrencyCode
    old_price: Price
    new_price: Price
    destination: Line | None = None
    check_in: date | None = None
    check_out: date | None = None
    link: Link | None = None

    def __post_init__(self) -> None:
        check_currency("currency", self.currency)
        if self.new_price >= self.old_price:
            raise ValueError("new_price must be lower than old_price")


class SendPriceAlert(Params):
    #: Whom to tell; nobody who has unsubscribed from price alerts.
    user_id: int
    alert: PriceAlert


class PriceAlertSent(Result):
    success: bool
    user_id: int
    template: str
    alert_data: PriceAlert
    message: str
    #: Null where the user does not want price alerts.
    email: str | None
    sent_at: datetime | None


class SendReceipt(Params):
    user_id: int
    payment_id: UUID


class ReceiptSent(Result):
    success: bool
    user_id: int
    payment_id: UUID
    template: str
    message: str
    #: Null where no receipt was due.
    email: str | None
    sent_at: datetime | None


class SendDigest(Params):
    user_id: int


class DigestSent(Result):
    success: bool
    user_id: int
    template: str
    message: str
    #: Hotels in the mail.
    hotels: int
    #: Null where there was nothing to tell, or the user does not want it.
    email: str | None
    sent_at: datetime | None


class SendDigests(Params):
    pass


class DigestsStarted(Result):
    success: bool
    readers: int
    #: The workflow that sends the mails; null if there are no recipients.
    workflow_id: UUID | None


class AccountMailSent(Result):
    """Without the address: it is sealed in the parameters."""

    success: bool
    user_id: int
    kind: AccountMailKind
    sent_at: datetime
    message: str


SEND_WELCOME = Contract(
    name="email.send_welcome",
    queue="email",
    params=SendWelcome,
    recipient="user_id",
    result=MailSent,
    quota="mails",
    # A mail server that is down comes back within the hour or somebody is called.
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
)

SEND_PRICE_ALERT = Contract(
    name="email.send_price_alert",
    queue="email",
    params=SendPriceAlert,
    recipient="user_id",
    result=PriceAlertSent,
    quota="mails",
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
    # It carries a text and a link of the caller's. Scans submit it as children for all who watch a price.
    staff_only=True,
)

#: A step of workflows: a receipt is about a payment, so no request names it.
SEND_RECEIPT = Contract(
    name="email.send_receipt",
    queue="email",
    params=SendReceipt,
    recipient="user_id",
    result=ReceiptSent,
    # Retried for a day: a final failure refunds the payment, and a mail server outage is no reason for that.
    retries=Retries(max_attempts=30, delay=timedelta(seconds=10), cap=timedelta(hours=1)),
    internal=True,
)

#: A step of the workflow that `email.send_digests` begins.
SEND_DIGEST = Contract(
    name="email.send_digest",
    queue="email",
    priority=3,
    params=SendDigest,
    recipient="user_id",
    result=DigestSent,
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
    internal=True,
)

SEND_DIGESTS = Contract(
    name="email.send_digests",
    queue="email",
    params=SendDigests,
    result=DigestsStarted,
    staff_only=True,
)

#: The `account_mail` of the hotel application.
SEND_ACCOUNT_MAIL = Contract(
    name="email.send_account_mail",
    queue="email",
    # A person waits in front of the mailbox.
    priority=HIGHEST_PRIORITY,
    params=SendAccountMail,
    result=AccountMailSent,
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
    # The link would be over.
    max_wait=CONFIRMATION_LIFE,
    # It goes to addresses that are not confirmed.
    internal=True,
)
