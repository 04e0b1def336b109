"""Refunds of one account: all of an intent's money, once."""

import copy

from local.sandbox.stripe_keys import Body, Refusal


class Refunds:
    """What was given back."""

    def __init__(self) -> None:
        self.all: list[Body] = []

    def make(self, intent: Body, prefix: str, now: int) -> Body:
        """Raises Refusal for an intent without money, or one that was refunded."""
        if intent["amount_received"] == 0:
            message = f"This PaymentIntent ({intent['id']}) does not have a successful charge to refund."
            raise Refusal(400, message, param="payment_intent")
        if any(each["payment_intent"] == intent["id"] for each in self.all):
            message = f"Charge {intent['latest_charge']} has already been refunded."
            raise Refusal(400, message, code="charge_already_refunded")
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
        """The refunds of an intent as a list's answer."""
        found = [each for each in reversed(self.all) if each["payment_intent"] == intent]
        return {"object": "list", "has_more": False, "data": copy.deepcopy(found)}
