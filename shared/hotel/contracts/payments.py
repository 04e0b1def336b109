"""Contracts of the tasks that charge and refund money through the payment service."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.contracts.objective import Objective
from shared.contracts.patterns import whole
from shared.contracts.schedule import Schedule
from shared.contracts.sensitivity import SENSITIVE
from shared.hotel.contracts.money import Amount, CurrencyCode, decimals, minor_units

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]
#: Ids of a card and of a customer at the payment service. This platform never receives card
#: numbers.
MethodId = Annotated[str, Meta(pattern=whole("pm_[A-Za-z0-9_]{1,100}")), SENSITIVE]
CustomerId = Annotated[str, Meta(pattern=whole("cus_[A-Za-z0-9_]{1,100}")), SENSITIVE]


#: Number of decimals of the currencies BHD, JOD, KWD, OMR and TND. In these currencies, the payment
#: service accepts only amounts whose last decimal is 0.
THOUSANDTHS = 3
#: Currencies for which the payment service uses another number of decimals than ISO 4217. They are
#: refused, because a charge would be wrong by a factor of 100.
OTHER_UNITS = frozenset({"ISK", "MGA", "UGX"})


class ProcessPayment(Params):
    user_id: Id
    #: Amount in the main unit of the currency, such as "1250.00".
    amount: Amount
    currency: CurrencyCode
    payment_method: MethodId
    #: Id of a customer at the payment service. The task `payments.bind_customer` must have bound
    #: the customer to this user's account.
    customer: CustomerId | None = None

    def __post_init__(self) -> None:
        minor = minor_units(self.amount, self.currency)
        if decimals(self.currency) == THOUSANDTHS and minor % 10:
            raise ValueError(
                f"amount must have 0 as its third decimal in {self.currency}, like 5.120: "
                "the payment service takes no smaller part"
            )
        if self.currency in OTHER_UNITS:
            raise ValueError(
                f"currency must not be {self.currency}: the payment service counts it in another unit"
            )


class PaymentProcessed(Result):
    #: True if the money was taken from the customer.
    success: bool
    user_id: int
    payment_id: UUID
    #: Id of the charge at the payment service.
    transaction_id: str
    amount: str
    currency: str
    #: Status of the payment: "succeeded", "requires_action" (the customer has to confirm the
    #: payment with `client_secret`) or "processing" (the bank has not decided yet, and the task
    #: `payments.settle` checks again).
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
    #: Number of earlier checks of this payment.
    looks: Annotated[int, Meta(ge=0, le=1_000)] = 0


class PaymentSettled(Result):
    success: bool
    payment_id: UUID
    status: str
    #: Seconds until the next check of the payment; null if its status is final, or if it is older
    #: than two weeks.
    looks_again_in_s: float | None


class SettleOpen(Params):
    pass


class OpenSubmitted(Result):
    success: bool
    #: Number of tasks `payments.settle` that were submitted.
    submitted: int


class RefundPayment(Params):
    #: Id of the payment to refund; null means the payment that was made in the same workflow.
    payment_id: UUID | None = None


class PaymentRefunded(Result):
    #: True if the task succeeded, even if there was nothing to refund.
    success: bool
    #: True if money was paid back; false if none had been taken.
    refunded: bool
    payment_id: UUID | None
    #: Id of the refund at the payment service.
    refund_id: str | None
    message: str


#: Version 2 of the parameters has the same fields as version 1. It was introduced because workers
#: of release 0.2 cannot decrypt fields whose encryption is bound to the task. They leave tasks of
#: an unknown version to other workers, and would otherwise have failed them.
_UPCASTS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: lambda raw: raw}

#: Objective of payments. A declined card does not count as a failure, because it is a refusal by an
#: outside service.
MONEY = Objective(success=0.999, wait_p=(0.99, 30))

PROCESS = Contract(
    name="payments.process",
    version=2,
    upcasts=_UPCASTS,
    queue="payments",
    objective=replace(MONEY, expected_per_day=2_000),
    params=ProcessPayment,
    recipient="user_id",
    needs_key=True,
    result=PaymentProcessed,
    # All attempts of a charge use one idempotency key, which the payment service forgets after a
    # day.
    retries=Retries(max_attempts=10, delay=timedelta(seconds=3), cap=timedelta(minutes=30)),
    time_limit=timedelta(minutes=5),
    priority=8,
)

#: Binds a customer of the payment service to an account. Submitted by staff who create such
#: customers. A payment can only charge a customer that is bound to the account that pays.
BIND_CUSTOMER = Contract(
    name="payments.bind_customer",
    version=2,
    upcasts=_UPCASTS,
    queue="payments",
    objective=replace(MONEY, expected_per_day=200),
    params=BindCustomer,
    result=CustomerBound,
    staff_only=True,
)

#: Refunds a payment. The task only exists as a step of a workflow, so no request may submit it. As
#: long as it is unknown whether money was taken, the task keeps checking. It does so for longer
#: than the 23 h for which the idempotency key of the charge is used.
REFUND = Contract(
    name="payments.refund",
    queue="payments",
    objective=replace(MONEY, expected_per_day=20),
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
    objective=replace(MONEY, expected_per_day=20),
    params=SettlePayment,
    result=PaymentSettled,
    retries=Retries(max_attempts=10, delay=timedelta(seconds=30), cap=timedelta(hours=1)),
    staff_only=True,
)

#: Checks payments whose outcome is unknown because the task that charged them was canceled or used
#: up its attempts.
SETTLE_OPEN = Contract(
    name="payments.settle_open",
    queue="payments",
    objective=replace(MONEY, urgency="ticket", expected_per_day=24),
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
