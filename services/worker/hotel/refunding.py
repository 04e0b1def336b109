"""The money of one payment goes back, once, and only where it was taken.

Whether it was taken is what the row says, or what the payment service says where the row does not know it.
"""

from services.worker.hotel import charging
from services.worker.hotel.charging import Finding, Payment
from services.worker.hotel.gateways.stripe import Intent, StripeGateway
from shared.contracts.context import Sql
from shared.errors import ExpectedError
from shared.hotel import billing


async def decided(database: Sql, stripe: StripeGateway, payment: Payment) -> Payment:
    """The row once it is known whether money was taken; a payment that waits for it is called off.

    Raises ExpectedError where the service does not know it yet, and what the gateway raises.
    """
    if payment.final or payment.status == "created":
        return payment
    intent = await charging.look_up(stripe, payment)
    finding = await _finding(stripe, payment, intent)
    payment = await charging.settle(database, payment, finding)
    if not payment.final:
        raise ExpectedError(f"payment {payment.id} is still {payment.status}: its bank has not decided")
    return payment


async def refund(stripe: StripeGateway, payment: Payment) -> str:
    """Give back what was taken. Returns the service's number; raises what the gateway raises."""
    assert payment.intent is not None  # it was charged
    return await stripe.refund(payment.intent, f"refund-{payment.id}")


async def note(database: Sql, payment: Payment, refund_id: str) -> Payment:
    """Write it down. The row stays where another attempt has."""
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
