"""Simulates refunds of one Stripe account: a payment intent can be refunded once, in full."""

import copy

from local.sandbox.stripe_keys import Body, LateRefusal


class Refunds:
    """All refunds of a Stripe account."""

    def __init__(self) -> None:
        self.all: list[Body] = []

    def make(self, intent: Body, prefix: str, now: int, *, solvent: bool) -> Body:
        """Refund a payment intent. Raises LateRefusal if it took no money, if it was refunded
        before, or if the account is not solvent.
        """
        if intent["amount_received"] == 0:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise LateRefusal(400, message, param="payment_intent")
        if any(each["payment_intent"] == intent["id"] for each in self.all):
            message = f"Charge {intent['latest_charge']} has already been refunded."
            raise LateRefusal(400, message, code="charge_already_refunded")
        if not solvent:
            message = "Insufficient funds in your Stripe balance to refund this amount."
            raise LateRefusal(400, message, code="balance_insufficient")
        refund: Body = {
            "id": f"{prefix}{len(self.all) + 1:06d}",
            "object": "refund",
            "amount": intent["amount_received"],
            "currency": intent["currency"],
            "payment_intent": intent["id"],
            "charge": intent["latest_charge"],
            "created": now,
            "metadata": {},
            "status": "succeeded",
        }
        self.all.append(refund)
        return copy.deepcopy(refund)

    def page(self, intent: str) -> Body:
        """The refunds of a payment intent, in Stripe's format for lists."""
        found = [each for each in reversed(self.all) if each["payment_intent"] == intent]
        return {"object": "list", "has_more": False, "data": copy.deepcopy(found)}
