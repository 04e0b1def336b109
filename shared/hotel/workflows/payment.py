"""Defines the payment workflow: a charge, then a receipt, and a refund if either of them fails."""

from datetime import timedelta
from uuid import UUID

from shared.hotel.contracts.email import SEND_RECEIPT, SendReceipt
from shared.hotel.contracts.payments import PROCESS, REFUND, ProcessPayment, RefundPayment
from shared.workflows.workflow import Workflow

#: Name of the step that charges the customer. The client follows the task of this step, because its
#: result is the payment.
CHARGE = "charge"
#: Deadline of the payment workflow. The attempts of a charge and of a mail end within hours.
DEADLINE = timedelta(days=3)


def payment(order: ProcessPayment, *, owner: int | None = None) -> Workflow:
    """Build the workflow that charges a customer and sends the receipt.

    If either step fails, it refunds the payment. If the charge fails before money was taken, the
    refund does nothing.
    """
    flow = Workflow("payment", deadline=DEADLINE, owner=owner)
    charge = flow.step(PROCESS, order, name=CHARGE)
    receipt = SendReceipt(user_id=order.user_id, payment_id=charge.result.payment_id)
    flow.step(SEND_RECEIPT, receipt, name="receipt")
    flow.on_failure(REFUND, RefundPayment(), name="refund")
    return flow


def late_receipt(payment_id: UUID, user_id: int) -> Workflow:
    """Build the workflow that sends the receipt of a payment that was completed later.

    The customer or the bank completed it after the task of the charge had ended.
    """
    flow = Workflow("late_receipt", deadline=DEADLINE)
    flow.step(SEND_RECEIPT, SendReceipt(user_id=user_id, payment_id=payment_id), name="receipt")
    flow.on_failure(REFUND, RefundPayment(payment_id=payment_id), name="refund")
    return flow
