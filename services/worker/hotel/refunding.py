"""Refunds a payment, only once, and only if money was taken.

The payment's row usually says whether money was taken. If it does not, the payment service is
asked.
"""

from services.worker.hotel import charging
from services.worker.hotel.charging import Finding, Payment
from services.worker.hotel.gateways.stripe import Intent, RefusedBefore, StripeGateway
from shared.contracts.context import Sql
from shared.errors import ExpectedError
from shared.hotel import billing


async def decided(database: Sql, stripe: StripeGateway, payment: Payment) -> Payment:
    """Find out whether money was taken for a payment, and return its row.

    A payment that is still open is canceled first. Raises ExpectedError as long as the payment
    service does not know the result, and the errors of the gateway.
    """
    if payment.final or payment.status == "created":
        return payment
    intent = await charging.look_up(stripe, payment)
    finding = await _finding(stripe, payment, intent)
    payment = await charging.settle(database, payment, finding)
    if not payment.final:
        raise ExpectedError(f"payment {payment.id} is still {payment.status}: its bank has not decided")
    return payment


async def refund(stripe: StripeGateway, payment: Payment, attempt: str) -> str:
    """Refund the whole amount at the payment service. Returns the refund's id.

    `attempt` identifies the current attempt of the task. Raises the errors of the gateway.
    """
    assert payment.intent is not None  # A payment for which money was taken has an intent
    key = f"refund-{payment.id}"
    try:
        return await stripe.refund(payment.intent, key)
    except RefusedBefore:
        # The service has stored the refusal of an earlier attempt, for example because our account
        # had too little money. A new key makes the service check again. It cannot cause a second
        # refund, because the service refunds the whole amount only once, whatever the key.
        return await stripe.refund(payment.intent, f"{key}-{attempt}")


async def note(database: Sql, payment: Payment, refund_id: str) -> Payment:
    """Store the refund's id in the payment's row and return the row.

    If another attempt has already done so, the row stays unchanged.
    """
    rows = await database.run(billing.NOTE_REFUND, refund_id, payment.id)
    return Payment(**rows[0]) if rows else payment


async def _finding(stripe: StripeGateway, payment: Payment, intent: Intent | None) -> Finding:
    if intent is None and payment.key_is_old:
        return Finding("failed", None, "not_charged", "no answer came, and Stripe has no such charge")
    if intent is None:
        raise ExpectedError(f"Stripe has no charge for payment {payment.id} yet: it may still be made")
    called_off = Finding("failed", intent.id, "called_off", "its workflow failed before it was paid")
    found = charging.judge(intent) or called_off
    if found.status in ("succeeded", "processing") or intent.status == "canceled":
        return found
    return await charging.call_off(stripe, intent, found if found.status == "declined" else called_off)
