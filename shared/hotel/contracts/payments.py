"""Charges through the payment service."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.outcome import StepOutcome
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule
from shared.contracts.sensitivity import SENSITIVE
from shared.hotel.contracts.money import Amount, CurrencyCode, decimals, minor_units

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
#: The payment service's own names for a card and a customer; no card number ever comes here.
MethodId = Annotated[str, Meta(pattern=whole("pm_[A-Za-z0-9_]{1,100}")), SENSITIVE]
CustomerId = Annotated[str, Meta(pattern=whole("cus_[A-Za-z0-9_]{1,100}")), SENSITIVE]


#: Decimals of currencies whose last digit must be 0 at the payment service: BHD, JOD, KWD, OMR, TND.
THOUSANDTHS = 3
#: The payment service has other decimals than ISO 4217 for these; a mistake would be a hundredfold.
OTHER_UNITS = frozenset({"ISK", "MGA", "UGX"})


class ProcessPayment(Params):
    user_id: Id
    #: In the currency's main unit, "1250.00".
    amount: Amount
    currency: CurrencyCode
    payment_method: MethodId
    #: Must belong to this user's account: `payments.bind_customer` says so.
    customer: CustomerId | None = None

    def __post_init__(self) -> None:
        minor = minor_units(self.amount, self.currency)
        if decimals(self.currency) == THOUSANDTHS and minor % 10:
            raise ValueError(
                f"amount must have 0 as its third decimal in {self.currency}, like 5.120: "
                "the payment service takes no smaller part"
            )
        if self.currency in OTHER_UNITS:
            raise ValueError(f"currency must not be {self.currency}: the payment service counts it otherwise")


class PaymentProcessed(Result):
    #: True once the money is taken.
    success: bool
    user_id: int
    payment_id: UUID
    #: The payment service's number.
    transaction_id: str
    amount: str
    currency: str
    #: succeeded; requires_action: the customer has to confirm it, with `client_secret`; processing: the bank
    #: takes its time, `payments.settle` looks again.
    status: str
    client_secret: Annotated[str, SENSITIVE] | None
    processed_at: datetime


class BindCustomer(Params):
    user_id: Id
    customer: CustomerId


class CustomerBound(Result):
    success: bool
    user_id: int


class SettlePayment(Params):
    payment_id: UUID
    #: How often it was looked at before.
    looks: Annotated[int, Meta(ge=0, le=1_000)] = 0


class PaymentSettled(Result):
    success: bool
    payment_id: UUID
    status: str
    #: Null once it is final, or after two weeks.
    looks_again_in_s: float | None


class SettleOpen(Params):
    pass


class OpenSubmitted(Result):
    success: bool
    #: Tasks of `payments.settle`.
    submitted: int


class RefundPayment(Params):
    """Which payment: by how its charge ended in the same workflow, or by its id."""

    charge: Annotated[StepOutcome | None, SENSITIVE] = None
    payment_id: UUID | None = None


class PaymentRefunded(Result):
    #: True also where there was nothing to refund.
    success: bool
    #: False: no money was taken.
    refunded: bool
    payment_id: UUID | None
    #: The payment service's number of the refund.
    refund_id: str | None
    message: str


#: Version 2 has the parameters of version 1. Release 0.2 cannot open fields that are bound to their task:
#: its workers park tasks of version 2 instead of failing them.
_UPCASTS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: lambda raw: raw}

PROCESS = Contract(
    name="payments.process",
    version=2,
    upcasts=_UPCASTS,
    queue="payments",
    params=ProcessPayment,
    recipient="user_id",
    needs_key=True,
    result=PaymentProcessed,
    # Under one idempotency key; the service forgets it after a day.
    retries=Retries(max_attempts=10, delay=timedelta(seconds=3), cap=timedelta(minutes=30)),
    time_limit=timedelta(minutes=5),
    priority=8,
)

#: Submitted by staff who create customers at the payment service: only a customer bound here is charged.
BIND_CUSTOMER = Contract(
    name="payments.bind_customer",
    version=2,
    upcasts=_UPCASTS,
    queue="payments",
    params=BindCustomer,
    result=CustomerBound,
    staff_only=True,
)

#: A step of workflows, never of a request. Where it is not known yet whether money was taken, it looks for
#: longer than the service remembers the key of the charge, 23 h.
REFUND = Contract(
    name="payments.refund",
    queue="payments",
    params=RefundPayment,
    result=PaymentRefunded,
    retries=Retries(max_attempts=40, delay=timedelta(seconds=10), cap=timedelta(hours=1)),
    time_limit=timedelta(minutes=5),
    priority=8,
    internal=True,
)

SETTLE = Contract(
    name="payments.settle",
    queue="payments",
    params=SettlePayment,
    result=PaymentSettled,
    retries=Retries(max_attempts=10, delay=timedelta(seconds=30), cap=timedelta(hours=1)),
    staff_only=True,
)

#: What tasks that were cancelled, or ran out of attempts, did not learn about their charges.
SETTLE_OPEN = Contract(
    name="payments.settle_open",
    queue="payments",
    params=SettleOpen,
    result=OpenSubmitted,
    schedules=(
        Schedule(
            name="payments.settle_open.hourly",
            kind="interval",
            expression="1 h",
            params=SettleOpen(),
            overlap="skip",
        ),
    ),
    staff_only=True,
)
