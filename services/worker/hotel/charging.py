"""One payment between its row and the payment service: charged once, whatever dies in between.

The row says `unknown` before the service is asked for the first time. A key of the service's stands for one
charge as long as it is remembered; after that the charge is looked up before it is made anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from services.worker.hotel.gateways.provider import ProviderAway, ProviderRefused
from services.worker.hotel.gateways.stripe import CardDeclined, Charge, Intent, StripeGateway
from shared.contracts.context import Sql
from shared.errors import PermanentError, Retry
from shared.hotel import billing

#: How much the service's clock and the database's may differ.
CLOCKS_DIFFER = timedelta(minutes=10)
#: When another attempt works at the same row, it is through in a moment.
OTHER_ATTEMPT_DELAY_S = 5.0

#: What the service's statuses mean to us; those that are missing mean nothing to us.
STATUSES = {
    "succeeded": "succeeded",
    "processing": "processing",
    "requires_action": "requires_action",
    "requires_payment_method": "declined",
    "canceled": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A row of `payment`."""

    id: UUID
    #: None: the account was erased.
    user: int | None
    amount_minor: int
    currency: str
    status: str
    intent: str | None
    key_number: int
    key_used_at: datetime | None
    #: The service may have forgotten the key.
    key_is_old: bool
    error_code: str | None
    error_message: str | None
    #: The service's number of the refund.
    refund: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def final(self) -> bool:
        return self.status in billing.FINAL


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of a payment."""

    status: str
    intent: str | None
    error_code: str | None = None
    error_message: str | None = None
    #: For the customer, who is to confirm it.
    client_secret: str | None = None


async def open_payment(
    database: Sql, task: UUID, user: int, amount_minor: int, currency: str
) -> Payment | None:
    """The row of this task, as an earlier attempt left it or new; null for a user who can't pay."""
    rows = await database.run(billing.OPEN_PAYMENT, task, amount_minor, currency, user, task)
    return Payment(**rows[0]) if rows else None


async def check_customer(database: Sql, payment: Payment, customer: str | None) -> None:
    """Raises PermanentError unless the customer belongs to the payment's account; no customer is good.

    A charge that an earlier attempt began is not stopped: it has to be followed to its end.
    """
    if customer is None or payment.key_used_at is not None:
        return
    if not await database.run(billing.OWN_CUSTOMER, customer, payment.user):
        raise PermanentError(
            f"customer must belong to the account of user {payment.user}: leave it out, or have "
            "payments.bind_customer record it for this account"
        )


async def load(database: Sql, payment_id: UUID) -> Payment | None:
    rows = await database.run(billing.PAYMENT, payment_id)
    return Payment(**rows[0]) if rows else None


async def look_up(stripe: StripeGateway, payment: Payment) -> Intent | None:
    """What the service has for this payment, nothing if it was never asked; raises as the gateway does."""
    if payment.intent is not None:
        return await stripe.read(payment.intent)
    if payment.key_used_at is None:
        return None
    return await stripe.find(payment.id, payment.key_used_at - CLOCKS_DIFFER)


async def charge(
    database: Sql, stripe: StripeGateway, payment: Payment, payment_method: str, customer: str | None
) -> tuple[Payment, Finding]:
    """Charge, or find out what became of an earlier charge; the row, with the key that it now has.

    Raises ProviderRefused, ProviderAway, ProviderBusy, and Retry when another attempt has the row.
    """
    if payment.intent is not None or payment.key_is_old:
        found = await look_up(stripe, payment)
        if found is not None:
            return payment, _decided(found)
    using = await _use_key(database, payment)
    wanted = Charge(
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        payment_method=payment_method,
        customer=customer,
        payment_id=payment.id,
    )
    try:
        return using, _decided(await stripe.charge(wanted, f"payment-{using.id}-{using.key_number}"))
    except CardDeclined as error:
        declined = Finding("declined", error.intent_id, error.code, str(error))
        return using, declined
    except ProviderRefused as error:
        await database.run(billing.NOTE_REFUSAL, payment.status, str(error), using.id, using.key_number)
        raise
    except ProviderAway:
        # The service repeats an error that it made under a key, also one that it made after the charge.
        found = None if payment.status == "created" else await look_up(stripe, using)
        if found is None:
            raise
        return using, _decided(found)


async def call_off(stripe: StripeGateway, intent: Intent, finding: Finding) -> Finding:
    """Nobody pays later what is given up here: the customer still has the secret of it.

    `finding` stands unless the customer was faster.
    """
    try:
        ended = await stripe.cancel(intent.id)
    except ProviderRefused:
        ended = await stripe.read(intent.id)
    if ended.status == "canceled":
        return finding
    return judge(ended) or finding


def judge(intent: Intent) -> Finding | None:
    """Nothing for an intent that is still being made."""
    if intent.status == "requires_confirmation":
        return None
    status = STATUSES.get(intent.status)
    if status is None:
        said = f"Stripe says that {intent.id} is {intent.status!r}, which is not known here: look there"
        return Finding("failed", intent.id, "unknown_status", said)
    if status == "failed":
        return Finding(status, intent.id, "canceled", f"{intent.id} was cancelled at Stripe")
    secret = intent.client_secret if status == "requires_action" else None
    return Finding(status, intent.id, intent.error_code, intent.error_message, secret)


async def settle(database: Sql, payment: Payment, finding: Finding) -> Payment:
    """Write it down; raises Retry when somebody else has."""
    rows = await database.run(
        billing.SETTLE,
        *(finding.status, finding.intent, finding.error_code, finding.error_message),
        *(payment.id, payment.key_number),
    )
    return _only(rows)


async def _use_key(database: Sql, payment: Payment) -> Payment:
    number = payment.key_number + 1 if payment.key_is_old else payment.key_number
    rows = await database.run(billing.USE_KEY, number, number, payment.id, payment.key_number)
    return _only(rows)


def _decided(intent: Intent) -> Finding:
    finding = judge(intent)
    if finding is None:
        raise ProviderAway(f"Stripe has begun with {intent.id} and not yet charged it")
    return finding


def _only(rows: Sequence[dict[str, Any]]) -> Payment:
    if not rows:
        raise Retry("another attempt has changed the payment meanwhile", delay_s=OTHER_ATTEMPT_DELAY_S)
    return Payment(**rows[0])
