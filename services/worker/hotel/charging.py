"""Charges a payment exactly once, even if processes die in the middle.

Before the first request to the payment service, the row of the payment gets the status `unknown`.
As long as the service remembers an idempotency key, a request with the same key cannot charge
twice. After that, the charge is looked up at the service before it is requested again.
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

#: Assumed maximum difference between the clocks of the payment service and of the database.
CLOCKS_DIFFER = timedelta(minutes=10)
#: Retry delay in seconds if another attempt is working on the same payment, which takes only a
#: moment.
OTHER_ATTEMPT_DELAY_S = 5.0

#: Maps the payment service's statuses to those of our table `payment`. A status that is not listed
#: here is treated as unknown.
STATUSES = {
    "succeeded": "succeeded",
    "processing": "processing",
    "requires_action": "requires_action",
    "requires_payment_method": "declined",
    "canceled": "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A row of the table `payment`."""

    id: UUID
    #: Id of the account that pays; None once the account is erased.
    user: int | None
    amount_minor: int
    currency: str
    status: str
    intent: str | None
    key_number: int
    key_used_at: datetime | None
    #: True if the payment service may have forgotten the payment's idempotency key.
    key_is_old: bool
    error_code: str | None
    error_message: str | None
    #: Id of the refund at the payment service; None if nothing was refunded.
    refund: str | None
    created_at: datetime
    updated_at: datetime

    @property
    def final(self) -> bool:
        return self.status in billing.FINAL


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a charge, to be written to the payment's row."""

    status: str
    intent: str | None
    error_code: str | None = None
    error_message: str | None = None
    #: A secret with which the customer's browser can confirm the payment; None if no confirmation
    #: is needed.
    client_secret: str | None = None


async def open_payment(
    database: Sql, task: UUID, user: int, amount_minor: int, currency: str
) -> Payment | None:
    """Insert the payment of a task, or return the row that an earlier attempt has inserted.

    Returns None if the user cannot pay.
    """
    rows = await database.run(billing.OPEN_PAYMENT, task, amount_minor, currency, user, task)
    return Payment(**rows[0]) if rows else None


async def check_customer(database: Sql, payment: Payment, customer: str | None) -> None:
    """Check that the payment service's customer belongs to the account that pays.

    Raises PermanentError if it belongs to another account. A payment without a customer passes. So
    does a payment whose charge was begun by an earlier attempt, because its result has to be found
    out in any case.
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


async def load_locked(database: Sql, payment_id: UUID) -> Payment | None:
    """Read the payment's row and lock it until the caller's transaction ends.

    Outside a transaction, this only waits for the transactions that are changing the row.
    """
    rows = await database.run(billing.PAYMENT_LOCKED, payment_id)
    return Payment(**rows[0]) if rows else None


async def look_up(stripe: StripeGateway, payment: Payment) -> Intent | None:
    """Ask the payment service for the intent of this payment, its object for a charge.

    Returns None if no intent was ever requested. Raises the errors of the gateway.
    """
    if payment.intent is not None:
        return await stripe.read(payment.intent)
    if payment.key_used_at is None:
        return None
    return await stripe.find(payment.id, payment.key_used_at - CLOCKS_DIFFER)


async def charge(
    database: Sql, stripe: StripeGateway, payment: Payment, payment_method: str, customer: str | None
) -> tuple[Payment, Finding]:
    """Charge the payment, or find out how an earlier charge ended.

    Returns the row with the idempotency key that was used, and the result. Raises ProviderRefused,
    ProviderAway and ProviderBusy. Raises Retry if another attempt has changed the row, and
    PermanentError if the task has ended in the meantime.
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
        await _note_refusal(database, payment, using, str(error))
        raise
    except ProviderAway:
        # The payment service may have charged before the error occurred. A repeated request with
        # the same key would only return the recorded error, so the intent is looked up.
        found = None if payment.status == "created" else await look_up(stripe, using)
        if found is None:
            raise
        return using, _decided(found)


async def call_off(stripe: StripeGateway, intent: Intent, finding: Finding) -> Finding:
    """Cancel an intent. Otherwise, the customer, whose browser has its secret, could still pay it.

    Returns `finding`, or a success if the customer paid before the cancellation arrived.
    """
    try:
        ended = await stripe.cancel(intent.id)
    except ProviderRefused:
        ended = await stripe.read(intent.id)
    if ended.status == "canceled":
        return finding
    return judge(ended) or finding


def judge(intent: Intent) -> Finding | None:
    """Translate the payment service's intent into a result for our table.

    Returns None while the service is still creating the intent.
    """
    if intent.status == "requires_confirmation":
        return None
    status = STATUSES.get(intent.status)
    if status is None:
        said = f"{intent.id} is {intent.status!r}, an unknown status: check it in Stripe's dashboard"
        return Finding("failed", intent.id, "unknown_status", said)
    if status == "failed":
        return Finding(status, intent.id, "canceled", f"{intent.id} was canceled at Stripe")
    secret = intent.client_secret if status == "requires_action" else None
    return Finding(status, intent.id, intent.error_code, intent.error_message, secret)


async def settle(database: Sql, payment: Payment, finding: Finding) -> Payment:
    """Write the result of a charge to the payment's row.

    Raises Retry if another attempt has changed the row.
    """
    rows = await database.run(
        billing.SETTLE,
        *(finding.status, finding.intent, finding.error_code, finding.error_message),
        *(payment.id, payment.key_number),
    )
    return _only(rows)


async def _use_key(database: Sql, payment: Payment) -> Payment:
    number = payment.key_number + 1 if payment.key_is_old else payment.key_number
    before = (payment.id, payment.key_number, payment.status)
    rows = await database.run(billing.USE_KEY, number, number, *before)
    if not rows and await database.run(billing.TASK_ENDED, payment.id):
        raise PermanentError(
            f"payment {payment.id} was not charged, because its task ended while this attempt was held up, "
            "for example by a cancellation: retry the task to charge it"
        )
    return _only(rows)


async def _note_refusal(database: Sql, before: Payment, using: Payment, message: str) -> None:
    """Record that the payment service refused a charge.

    `before` is the row as it was read, and `using` is the row that USE_KEY returned. If nothing had
    been requested before, the payment also gets a new idempotency key. The service repeats a stored
    refusal for a day, so a retry with the old key would be refused even after the cause is fixed.

    The new key cannot cause a second charge, because no request with the old key can have charged:

    - The request of this attempt was refused.
    - No earlier request had the old key. USE_KEY has checked that the status was still `created`,
      and only this function restores that status, together with a new key.
    - No other attempt has sent a request with the old key since then. It would have called USE_KEY
      first, which changes `updated_at`, and then NOTE_REFUSAL changes nothing.
    - No attempt can still send one. USE_KEY fails for an attempt that has read the old key number.

    If an earlier request may have charged, the status stays `unknown`, and the key stays the same.
    """
    number, used_at = using.key_number, using.key_used_at
    if before.status == "created":
        number, used_at = number + 1, None
    after = (before.status, message, number, used_at)
    await database.run(billing.NOTE_REFUSAL, *after, using.id, using.key_number, using.updated_at)


def _decided(intent: Intent) -> Finding:
    finding = judge(intent)
    if finding is None:
        raise ProviderAway(f"Stripe has created {intent.id} but not yet charged it")
    return finding


def _only(rows: Sequence[dict[str, Any]]) -> Payment:
    if not rows:
        raise Retry("another attempt has changed the payment meanwhile", delay_s=OTHER_ATTEMPT_DELAY_S)
    return Payment(**rows[0])
