"""Mail to the hotel application's users."""

from datetime import date, datetime, timedelta
from typing import Annotated

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
