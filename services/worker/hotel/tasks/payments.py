"""Charges, what becomes of those that are not decided at once, and refunds."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.worker.hotel import charging, refunding
from services.worker.hotel.charging import Finding, Payment
from services.worker.hotel.gateways.stripe import CardDeclined, StripeGateway
from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import billing
from shared.hotel.contracts.money import minor_units
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

#: A customer confirms within minutes, a bank may take days.
FIRST_PAUSE, LONGEST_PAUSE, LOOKS_FOR = timedelta(minutes=1), timedelta(hours=6), timedelta(days=14)


@task(PROCESS)
async def process(context: TaskContext, params: ProcessPayment) -> PaymentProcessed:
    """Charge once; the row and this task's success commit together."""
    stripe = context.gateway(StripeGateway)
    amount_minor = minor_units(params.amount, params.currency)
    payment = await charging.open_payment(
        context.database, context.id, params.user_id, amount_minor, params.currency
    )
    if payment is None:
        raise PermanentError(f"user {params.user_id} does not exist or is not active")
    if payment.status == "succeeded":  # somebody has looked it up since an earlier attempt
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
    """Record whose customer this is; a customer never changes to another account."""
    rows = await context.database.run(billing.BIND_CUSTOMER, params.customer, params.user_id)
    if not rows:
        raise PermanentError(f"user {params.user_id} does not exist")
    if rows[0]["user"] != params.user_id:
        raise PermanentError("customer must not belong to another account, but this one does")
    return CustomerBound(success=True, user_id=params.user_id)


@task(SETTLE)
async def settle(context: TaskContext, params: SettlePayment) -> PaymentSettled:
    """Look what has become of a payment, and submit the next look with the success of this one."""
    stripe = context.gateway(StripeGateway)
    payment = await charging.load(context.database, params.payment_id)
    if payment is None:
        raise PermanentError(f"payment {params.payment_id} does not exist")
    finding = None if payment.final else await _look(stripe, payment, datetime.now(UTC))
    async with context.transaction() as transaction:
        if finding is not None:
            payment = await charging.settle(context.database, payment, finding)
            if payment.status == "succeeded" and payment.user is not None:
                await context.start(late_receipt(payment.id, payment.user))
        looks = params.looks + 1
        pause = _pause(payment, looks, datetime.now(UTC))
        if pause is not None:
            context.submit(SETTLE, SettlePayment(payment_id=payment.id, looks=looks), delay=pause)
        elif not payment.final:
            context.log.warning("payment %s is still %s", payment.id, payment.status)
        result = PaymentSettled(
            success=payment.status == "succeeded",
            payment_id=payment.id,
            status=payment.status,
            looks_again_in_s=None if pause is None else pause.total_seconds(),
        )
        await context.complete_in(transaction, result)
    return result


@task(REFUND)
async def refund(context: TaskContext, params: RefundPayment) -> PaymentRefunded:
    """Give back what the workflow's charge took; it may have taken nothing."""
    payment = await _charged(context, params)
    if payment is None:
        return _not_refunded(None, "no charge was begun")
    stripe = context.gateway(StripeGateway)
    payment = await refunding.decided(context.database, stripe, payment)
    if payment.status not in ("succeeded", "refunded"):
        return _not_refunded(payment, f"no money was taken: the payment is {payment.status}")
    refund_id = payment.refund or await refunding.refund(stripe, payment)
    async with context.transaction() as transaction:
        payment = await refunding.note(context.database, payment, refund_id)
        result = PaymentRefunded(
            success=True, refunded=True, payment_id=payment.id, refund_id=refund_id, message="Refunded"
        )
        await context.complete_in(transaction, result)
    return result


async def _charged(context: TaskContext, params: RefundPayment) -> Payment | None:
    """The payment, also where its charge ended without a result."""
    if params.payment_id is not None:
        return await charging.load(context.database, params.payment_id)
    if params.charge is not None and params.charge.result is not None:
        return await charging.load(context.database, UUID(params.charge.result["payment_id"]))
    rows = await context.database.run(billing.PAYMENT_OF_WORKFLOW, context.id)
    return Payment(**rows[0]) if rows else None


def _not_refunded(payment: Payment | None, reason: str) -> PaymentRefunded:
    payment_id = None if payment is None else payment.id
    return PaymentRefunded(
        success=True, refunded=False, payment_id=payment_id, refund_id=None, message=f"Not refunded: {reason}"
    )


@task(SETTLE_OPEN)
async def settle_open(context: TaskContext, params: SettleOpen) -> OpenSubmitted:
    """Find payments whose own tasks ended without learning what became of them."""
    rows = await context.database.run(billing.LEFT_OPEN)
    for row in rows:
        context.submit(SETTLE, SettlePayment(payment_id=row["id"]))
    if rows:
        context.log.warning("%d payments were left open by their tasks and are looked up", len(rows))
    return OpenSubmitted(success=True, submitted=len(rows))


def _raise_if_over(payment: Payment) -> None:
    """The same error in every attempt."""
    message = payment.error_message or f"the payment has {payment.status}"
    if payment.status == "declined":
        raise CardDeclined(message, intent_id=payment.intent, code=payment.error_code or "unknown")
    if payment.status == "failed":
        raise PermanentError(message)
    if payment.status == "refunded":
        raise PermanentError("the payment was refunded, and a retry must not charge again: submit a new one")


def _processed(params: ProcessPayment, payment: Payment, secret: str | None = None) -> PaymentProcessed:
    assert payment.intent is not None  # it has been charged, or begun
    return PaymentProcessed(
        success=payment.status == "succeeded",
        user_id=params.user_id,
        payment_id=payment.id,
        transaction_id=payment.intent,
        amount=params.amount,
        currency=params.currency,
        status=payment.status,
        client_secret=secret,
        processed_at=payment.updated_at,
    )


async def _look(stripe: StripeGateway, payment: Payment, now: datetime) -> Finding:
    """What is known now, also if that is nothing new; what is given up can't be paid any more."""
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
    """Until the next look; nothing where there is nothing left to look for, or `settle_open` looks."""
    waits = payment.status in ("processing", "requires_action")
    if not waits or now - payment.created_at > LOOKS_FOR:
        return None
    doubled: timedelta = FIRST_PAUSE * 2 ** min(looks, 20)
    return min(doubled, LONGEST_PAUSE)
