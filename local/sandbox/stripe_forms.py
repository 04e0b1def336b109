"""What Stripe is sent: whose key it is, and which parameters it takes."""

import re
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request

from local.outside import STRIPE_KEY
from local.sandbox.stripe_keys import Refusal

#: What becomes of a charge to these cards; others don't exist.
CARDS = {
    "pm_card_visa": "succeeded",
    "pm_card_chargeDeclined": "declined",
    "pm_card_visa_chargeDeclined": "declined",
    "pm_card_authenticationRequired": "requires_action",
    "pm_sandbox_processing": "processing",
}
DECLINE = {"code": "card_declined", "decline_code": "generic_decline", "message": "Your card was declined."}
#: The error of an off-session charge that needs confirmation: the customer is not there to give it.
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
#: To confirm without one of these, a customer must be sent away and come back.
NO_WAY_BACK_NEEDED = {"return_url", "payment_method_types[]", "automatic_payment_methods[allow_redirects]"}
Asked = Request[Any, Any, Any]
Form = dict[str, str]


async def read_form(request: Asked) -> Form:
    """Of a GET, its query. Raises Refusal."""
    if request.method == "GET":
        return {name: str(value) for name, value in request.query_params.items()}
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refusal(400, "Send parameters as a form.")
    return dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))


def check_key(request: Asked) -> None:
    """Raises Refusal."""
    if request.headers.get("authorization") != f"Bearer {STRIPE_KEY}":
        raise Refusal(401, "Invalid API Key provided: sk_****")


def check_form(form: Form) -> None:
    """Raises Refusal."""
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
    """Raises Refusal."""
    card = form.get("payment_method")
    if card is not None and card not in CARDS:
        message = f"No such PaymentMethod: '{card}'"
        raise Refusal(400, message, code="resource_missing", param="payment_method")


def metadata(form: Form) -> dict[str, str]:
    found = ((METADATA.fullmatch(name), value) for name, value in form.items())
    return {name.group(1): value for name, value in found if name}
