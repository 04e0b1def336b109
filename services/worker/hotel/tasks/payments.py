"""Bodies of the tasks that charge and refund payments, and of those that check undecided
payments.
"""

from datetime import UTC, datetime, timedelta

from services.worker.hotel import charging, refunding
from services.worker.hotel.charging import Finding, Payment
from services.worker.hotel.gateways.stripe import CardDeclined, StripeGateway
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import billing
from shared.hotel.contracts.money import main_units, minor_units
from shared.hotel.contracts.payments import (
    BIND_CUSTOMER,
    PROCESS,
    REFUND,
    SETTLE,
    SETTLE_OPEN,
    BindCustomer,
    CustomerBound,
    OpenSubmitted,
    PaymentProcessed,
    PaymentRefunded,
    PaymentSettled,
    ProcessPayment,
    RefundPayment,
    SettleOpen,
    SettlePayment,
)
from shared.hotel.workflows.payment import late_receipt

#: First and longest pause between two checks of an undecided payment, and for how long it is
#: checked. A customer confirms within minutes, but a bank may take days.
FIRST_PAUSE, LONGEST_PAUSE, LOOKS_FOR = timedelta(minutes=1), timedelta(hours=6), timedelta(days=14)


@task(PROCESS)
async def process(context: TaskContext, params: ProcessPayment) -> PaymentProcessed:
    """Charge a payment once.

    Its row is updated in the transaction that records this task's success.
    """
    stripe = context.gateway(StripeGateway)
    amount_minor = minor_units(params.amount, params.currency)
    payment = await charging.open_payment(
        context.database, context.id, params.user_id, amount_minor, params.currency
    )
    if payment is None:
        raise PermanentError(f"user {params.user_id} does not exist or is not active")
    _raise_if_edited(params, payment)
    # Since an earlier attempt, a check has found that the payment is paid
    if payment.status == "succeeded":
        return _processed(params, payment)
    _raise_if_over(payment)
    await charging.check_customer(context.database, payment, params.customer)
    context.progress(30, message="Asking the payment service")
    payment, finding = await charging.charge(
        context.database, stripe, payment, params.payment_method, params.customer
    )
    if finding.status in ("declined", "failed"):
        _raise_if_over(await charging.settle(context.database, payment, finding))
    async with context.transaction() as transaction:
        payment = await charging.settle(context.database, payment, finding)
        result = _processed(params, payment, finding.client_secret)
        if not payment.final:
            context.submit(SETTLE, SettlePayment(payment_id=payment.id), delay=FIRST_PAUSE)
        await context.complete_in(transaction, result)
    return result


@task(BIND_CUSTOMER)
async def bind_customer(context: TaskContext, params: BindCustomer) -> CustomerBound:
    """Record to which account a customer of the payment service belongs.

    A customer is never moved to another account.
    """
    rows = await context.database.run(billing.BIND_CUSTOMER, params.customer, params.user_id)
    if not rows:
        raise PermanentError(f"user {params.user_id} does not exist")
    if rows[0]["user"] != params.user_id:
        raise PermanentError(
            "the customer already belongs to another account: create a new customer for this one"
        )
    return CustomerBound(success=True, user_id=params.user_id)


@task(SETTLE)
async def settle(context: TaskContext, params: SettlePayment) -> PaymentSettled:
    """Check the state of a payment, and submit the next check if it is still undecided.

    The next check is stored in the transaction that records this task's success.
    """
    stripe = context.gateway(StripeGateway)
    payment = await charging.load(context.database, params.payment_id)
    if payment is None:
        raise PermanentError(f"payment {params.payment_id} does not exist")
    # A payment that is `created` is skipped, because no charge was requested. Writing this status
    # back could replace `unknown` while an attempt requests the charge.
    is_open = not payment.final and payment.status != "created"
    finding = await _look(stripe, payment, datetime.now(UTC)) if is_open else None
    async with context.transaction() as transaction:
        if finding is not None:
            payment = await charging.settle(context.database, payment, finding)
            await _confirm_late(context, payment)
        looks = params.looks + 1
        pause = _pause(payment, looks, datetime.now(UTC))
        if pause is not None:
            context.submit(SETTLE, SettlePayment(payment_id=payment.id, looks=looks), delay=pause)
        elif not payment.final:
            fields = {"payment_id": str(payment.id)}
            context.log.warning("the payment is still %s", payment.status, extra=fields)
        result = PaymentSettled(
            success=payment.status == "succeeded",
            payment_id=payment.id,
            status=payment.status,
            looks_again_in_s=None if pause is None else pause.total_seconds(),
        )
        await context.complete_in(transaction, result)
    return result


async def _confirm_late(context: TaskContext, payment: Payment) -> None:
    """Submit a receipt for a payment that has just been found to be paid.

    Does nothing if the workflow that charged the payment will send a receipt itself.
    """
    if payment.status != "succeeded" or payment.user is None:
        return
    if not await context.database.run(billing.RECEIPT_TO_COME, payment.id):
        await context.start(late_receipt(payment.id, payment.user))


@task(REFUND)
async def refund(context: TaskContext, params: RefundPayment) -> PaymentRefunded:
    """Refund what the charge in the same workflow took, if it took anything."""
    payment = await _charged(context, params)
    if payment is None:
        return _not_refunded(None, "no charge was begun")
    stripe = context.gateway(StripeGateway)
    payment = await refunding.decided(context.database, stripe, payment)
    if payment.status not in ("succeeded", "refunded"):
        return _not_refunded(payment, f"no money was taken: the payment is {payment.status}")
    attempt = f"{context.id}-{context.attempt}"
    refund_id = payment.refund or await refunding.refund(stripe, payment, attempt)
    async with context.transaction() as transaction:
        payment = await refunding.note(context.database, payment, refund_id)
        result = PaymentRefunded(
            success=True, refunded=True, payment_id=payment.id, refund_id=refund_id, message="Refunded"
        )
        await context.complete_in(transaction, result)
    return result


async def _charged(context: TaskContext, params: RefundPayment) -> Payment | None:
    """Return the payment to be refunded.

    Returns None if its charge was never begun.
    """
    # The lock makes this wait for an attempt that is executing USE_KEY, and then see its `unknown`.
    # An attempt that executes USE_KEY later finds that its task has ended.
    if params.payment_id is not None:
        return await charging.load_locked(context.database, params.payment_id)
    rows = await context.database.run(billing.PAYMENT_OF_WORKFLOW_LOCKED, context.id)
    return Payment(**rows[0]) if rows else None


def _not_refunded(payment: Payment | None, reason: str) -> PaymentRefunded:
    payment_id = None if payment is None else payment.id
    return PaymentRefunded(
        success=True, refunded=False, payment_id=payment_id, refund_id=None, message=f"Not refunded: {reason}"
    )


@task(SETTLE_OPEN)
async def settle_open(context: TaskContext, params: SettleOpen) -> OpenSubmitted:
    """Submit checks for open payments whose own tasks ended without finding out the result."""
    rows = await context.database.run(billing.LEFT_OPEN)
    for row in rows:
        context.submit(SETTLE, SettlePayment(payment_id=row["id"]))
    if rows:
        context.log.warning("%d payments were left open by their tasks and are checked again", len(rows))
    return OpenSubmitted(success=True, submitted=len(rows))


def _raise_if_edited(params: ProcessPayment, payment: Payment) -> None:
    """Raise PermanentError if the parameters differ from the row of an earlier attempt.

    The row is what is charged, and that may already have happened.
    """
    asked: dict[str, object] = {
        "currency": params.currency,
        "amount": main_units(minor_units(params.amount, params.currency), params.currency),
        "user_id": params.user_id,
    }
    opened: dict[str, object] = {
        "currency": payment.currency,
        "amount": main_units(payment.amount_minor, payment.currency),
        # The erasure of an account detaches its payments, which changes nothing about a charge.
        "user_id": params.user_id if payment.user is None else payment.user,
    }
    for field, value in opened.items():
        if asked[field] != value:
            raise PermanentError(
                f"{field} must be {value}, because an earlier attempt has opened payment {payment.id} with "
                "it: retry the task with this value, or submit a new task for another payment"
            )


def _raise_if_over(payment: Payment) -> None:
    """Raise an error if the payment has failed or was refunded.

    Every attempt raises the same error.
    """
    message = payment.error_message or f"the payment has {payment.status}"
    if payment.status == "declined":
        raise CardDeclined(message, intent_id=payment.intent, code=payment.error_code or "unknown")
    if payment.status == "failed":
        raise PermanentError(message)
    if payment.status == "refunded":
        raise PermanentError("the payment was refunded, and a retry must not charge again: submit a new one")


def _processed(params: ProcessPayment, payment: Payment, secret: str | None = None) -> PaymentProcessed:
    # A payment that was charged, or whose charge was begun, has an intent
    assert payment.intent is not None
    return PaymentProcessed(
        success=payment.status == "succeeded",
        # The account of the row is the same, or null if it was erased meanwhile
        user_id=params.user_id,
        payment_id=payment.id,
        transaction_id=payment.intent,
        amount=main_units(payment.amount_minor, payment.currency),
        currency=payment.currency,
        status=payment.status,
        client_secret=secret,
        processed_at=payment.updated_at,
    )


async def _look(stripe: StripeGateway, payment: Payment, now: datetime) -> Finding:
    """Ask the payment service for the current state of a payment, and return it even if nothing is
    new.

    A payment that is given up is canceled at the service, so that it cannot be paid any more.
    """
    intent = await charging.look_up(stripe, payment)
    if intent is None and payment.key_is_old:
        return Finding("failed", None, "not_charged", "no answer came, and Stripe has no such charge")
    found = None if intent is None else charging.judge(intent)
    if intent is None or found is None:
        return Finding(payment.status, None, payment.error_code, payment.error_message)
    if found.status == "declined":
        return await charging.call_off(stripe, intent, found)
    if found.status == "requires_action" and now - payment.created_at > LOOKS_FOR:
        given_up = Finding("failed", intent.id, "not_confirmed", "the customer did not confirm it in time")
        return await charging.call_off(stripe, intent, given_up)
    return found


def _pause(payment: Payment, looks: int, now: datetime) -> timedelta | None:
    """Return the pause until the next check of a payment.

    Returns None if its state cannot change any more, or if the task `settle_open` will check it.
    """
    waits = payment.status in ("processing", "requires_action")
    if not waits or now - payment.created_at > LOOKS_FOR:
        return None
    doubled: timedelta = FIRST_PAUSE * 2 ** min(looks, 20)
    return min(doubled, LONGEST_PAUSE)
