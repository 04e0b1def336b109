"""Contracts of the tasks that send mail to users of the hotel application."""

from datetime import date, datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec

from shared.contracts.account_mail import CONFIRMATION_LIFE, AccountMailKind, SendAccountMail
from shared.contracts.contract import HIGHEST_PRIORITY, Contract, Params, Result, Retries
from shared.contracts.objective import Objective
from shared.contracts.patterns import whole
from shared.hotel.contracts.money import CurrencyCode, check_currency

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Price = Annotated[float, msgspec.Meta(gt=0, le=1e9)]
#: The URL of a link in a mail. Only http and https are accepted, because a mail must not contain a
#: `javascript:` link.
Link = Annotated[str, msgspec.Meta(pattern=whole(r"https?://[^\s<>\"]+"), max_length=2000)]


class SendWelcome(Params):
    #: Id of the account to welcome. The address of the mail is read from the account; the caller
    #: cannot choose it.
    user_id: int


class MailSent(Result):
    success: bool
    user_id: int
    #: Address to which the mail was sent.
    email: str
    template: str
    sent_at: datetime
    message: str
    #: Recipients that the mail server refused, with its replies, although it accepted other
    #: recipients of the same mail.
    refused: dict[str, str]


class PriceAlert(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fall of a hotel's price, about which a user is notified."""

    hotel_name: Line
    #: Currency code, ISO 4217.
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
    #: Id of the account to notify. If it has unsubscribed from price alerts, it gets no mail.
    user_id: int
    alert: PriceAlert


class PriceAlertSent(Result):
    success: bool
    user_id: int
    template: str
    alert_data: PriceAlert
    message: str
    #: Address to which the mail was sent; null if the user has unsubscribed from price alerts.
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
    #: Address to which the receipt was sent; null if no receipt was due.
    email: str | None
    sent_at: datetime | None


class SendDigest(Params):
    user_id: int


class DigestSent(Result):
    success: bool
    user_id: int
    template: str
    message: str
    #: Number of hotels in the mail about fallen prices.
    hotels: int
    #: Address to which the mail was sent; null if no price had fallen, or if the user has
    #: unsubscribed.
    email: str | None
    sent_at: datetime | None


class SendDigests(Params):
    pass


class DigestsStarted(Result):
    success: bool
    readers: int
    #: Id of the workflow that sends the mails; null if no user is to get one.
    workflow_id: UUID | None


class AccountMailSent(Result):
    """The result of a task that sent mail about an account.

    It omits the mail address, which is encrypted in the parameters of the task.
    """

    success: bool
    user_id: int
    kind: AccountMailKind
    sent_at: datetime
    message: str


#: Objective for mail that a person is waiting for.
PROMPT = Objective(wait_p=(0.99, 30), expected_per_day=2_000)
#: Objective for mail that no person is waiting for.
BULK = Objective(wait_p=(0.99, 30), urgency="ticket", expected_per_day=500)


SEND_WELCOME = Contract(
    name="email.send_welcome",
    queue="email",
    objective=PROMPT,
    params=SendWelcome,
    recipient="user_id",
    result=MailSent,
    quota="mails",
    # The six attempts to send a mail take about an hour. If a mail server is down for longer, an
    # operator has to act.
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
)

SEND_PRICE_ALERT = Contract(
    name="email.send_price_alert",
    queue="email",
    objective=BULK,
    params=SendPriceAlert,
    recipient="user_id",
    result=PriceAlertSent,
    quota="mails",
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
    # Ordinary users may not submit this task, because the caller chooses a text and a link in the
    # mail. A price scan submits one such child task for each price alert.
    staff_only=True,
)

#: Sends the receipt of a payment. The task only exists as a step of a payment's workflow, so no
#: request may submit it.
SEND_RECEIPT = Contract(
    name="email.send_receipt",
    queue="email",
    objective=PROMPT,
    params=SendReceipt,
    recipient="user_id",
    result=ReceiptSent,
    # The mail with the receipt is tried for a day. If the task finally failed, its workflow would
    # refund the payment. Neither an outage of the mail server nor a wrong login of ours justifies
    # that.
    retries=Retries(max_attempts=30, delay=timedelta(seconds=10), cap=timedelta(hours=1)),
    internal=True,
)

#: Sends the mail about fallen prices to one user, as a step of the workflow that the task
#: `email.send_digests` starts.
SEND_DIGEST = Contract(
    name="email.send_digest",
    queue="email",
    objective=BULK,
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
    objective=Objective(wait_p=(0.99, 30), urgency="ticket", expected_per_day=1),
    params=SendDigests,
    result=DigestsStarted,
    staff_only=True,
)

#: Sends mail about accounts. The hotel application declares this contract as its `account_mail`.
SEND_ACCOUNT_MAIL = Contract(
    name="email.send_account_mail",
    queue="email",
    objective=PROMPT,
    # Highest priority, because a person is waiting for the mail about an account.
    priority=HIGHEST_PRIORITY,
    params=SendAccountMail,
    result=AccountMailSent,
    retries=Retries(max_attempts=6, delay=timedelta(seconds=10), cap=timedelta(minutes=30)),
    # The task expires when the link in its mail would have expired.
    max_wait=CONFIRMATION_LIFE,
    # No request may submit the task, because it also sends mail to addresses that are not
    # confirmed.
    internal=True,
)
