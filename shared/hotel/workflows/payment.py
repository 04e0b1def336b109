"""A payment: charge, then a receipt, and the money back when one of them fails."""

from datetime import timedelta
from uuid import UUID

from shared.hotel.contracts.email import SEND_RECEIPT, SendReceipt
from shared.hotel.contracts.payments import PROCESS, REFUND, ProcessPayment, RefundPayment
from shared.workflows.workflow import Workflow

#: The step whose task the client follows: its result is the payment.
CHARGE = "charge"
#: The attempts of a charge and of a mail end within hours.
DEADLINE = timedelta(days=3)


def payment(order: ProcessPayment, *, owner: int | None = None) -> Workflow:
    """Validate and charge, send the receipt, and refund when either fails.

    A charge that fails before money was taken leaves the refund nothing to do.
    """
    flow = Workflow("payment", deadline=DEADLINE, owner=owner)
    charge = flow.step(PROCESS, order, name=CHARGE)
    receipt = SendReceipt(user_id=order.user_id, payment_id=charge.result.payment_id)
    flow.step(SEND_RECEIPT, receipt, name="receipt")
    flow.on_failure(REFUND, RefundPayment(charge=charge.outcome), name="refund")
    return flow


def late_receipt(payment_id: UUID, user_id: int) -> Workflow:
    """The rest of a payment that was paid after its charge had ended: by a customer or a slow bank."""
    flow = Workflow("late_receipt", deadline=DEADLINE)
    flow.step(SEND_RECEIPT, SendReceipt(user_id=user_id, payment_id=payment_id), name="receipt")
    flow.on_failure(REFUND, RefundPayment(payment_id=payment_id), name="refund")
    return flow
