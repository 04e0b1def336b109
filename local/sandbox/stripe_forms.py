"""Checks requests to the simulated Stripe: the API key, and the parameters that Stripe accepts."""

import re
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request

from local.outside import STRIPE_KEY
from local.sandbox.stripe_keys import Refusal

#: Outcome of a charge, by the id of the test card. Other cards do not exist.
CARDS = {
    "pm_card_visa": "succeeded",
    "pm_card_chargeDeclined": "declined",
    "pm_card_visa_chargeDeclined": "declined",
    "pm_card_authenticationRequired": "requires_action",
    "pm_sandbox_processing": "processing",
}
DECLINE = {"code": "card_declined", "decline_code": "generic_decline", "message": "Your card was declined."}
#: Error of a charge that needs the customer's confirmation while the customer is not present
#: (off-session).
UNCONFIRMED = {
    "code": "authentication_required",
    "decline_code": "authentication_required",
    "message": "Your card was declined. This transaction requires authentication.",
}
BROKEN = {"type": "api_error", "message": "An unknown error occurred."}
KNOWN = (
    *("amount", "currency", "customer", "payment_method", "payment_method_types[]", "confirm", "off_session"),
    *("description", "receipt_email", "return_url", "automatic_payment_methods[allow_redirects]"),
)
METADATA = re.compile(r"metadata\[([A-Za-z0-9_-]{1,40})\]")
#: Parameters of which one is needed to confirm a charge: either the URL to which the customer
#: returns, or one that rules out such a redirect.
NO_WAY_BACK_NEEDED = {"return_url", "payment_method_types[]", "automatic_payment_methods[allow_redirects]"}
Asked = Request[Any, Any, Any]
Form = dict[str, str]


async def read_form(request: Asked) -> Form:
    """The parameters of a request: the query of a GET, the form in the body of other methods.
    Raises Refusal.
    """
    if request.method == "GET":
        return {name: str(value) for name, value in request.query_params.items()}
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refusal(400, "Send parameters as a form.")
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def check_key(request: Asked) -> None:
    """Check the API key of a request. Raises Refusal."""
    if request.headers.get("authorization") != f"Bearer {STRIPE_KEY}":
        raise Refusal(401, "Invalid API Key provided: sk_****")


def check_form(form: Form) -> None:
    """Check the parameters of a charge. Raises Refusal."""
    for name in form:
        if name not in KNOWN and not METADATA.fullmatch(name):
            raise Refusal(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    amount = form.get("amount", "")
    if not amount.isdecimal() or not int(amount):
        message = "This value must be greater than or equal to 1."
        raise Refusal(400, message, code="parameter_invalid_integer", param="amount")
    if not re.fullmatch("[a-z]{3}", form.get("currency", "")):
        raise Refusal(400, "Invalid currency.", param="currency")
    check_card(form)
    if form.get("confirm") == "true":
        if "payment_method" not in form:
            raise Refusal(400, "A payment method is needed to confirm.", param="payment_method")
        if not form.keys() & NO_WAY_BACK_NEEDED:
            raise Refusal(400, "A return_url is needed for methods that redirect.", param="return_url")


def check_card(form: Form) -> None:
    """Check the card of a charge. Raises Refusal if it does not exist."""
    card = form.get("payment_method")
    if card is not None and card not in CARDS:
        message = f"No such PaymentMethod: '{card}'"
        raise Refusal(400, message, code="resource_missing", param="payment_method")


def metadata(form: Form) -> dict[str, str]:
    found = ((METADATA.fullmatch(name), value) for name, value in form.items())
    return {name.group(1): value for name, value in found if name}
