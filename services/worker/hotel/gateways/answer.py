"""Helpers that read the responses of outside services.

A response may contain anything, so every value is checked, and nothing is guessed. Our own secrets
are removed from the text.
"""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from services.worker.hotel.gateways.provider import ProviderAway
from shared.telemetry.redaction import redact

#: Maximum number of characters of a provider's message that our error message repeats.
MAX_WORDS_CHARS = 300
#: Lowest and highest valid price. The price columns have the type numeric(12, 2), and a price that
#: rounds to zero is invalid too.
MIN_PRICE, MAX_PRICE = 0.01, 9_999_999_999
#: Highest valid number of guest ratings, which are stored in columns of type integer.
MAX_COUNT = 2**31 - 1


class Nonsense(ValueError):
    """Raised for a value that is present in a response but is not valid for its field."""


def parse(response: httpx.Response, provider: str, secrets: Sequence[str]) -> Any:
    """Parse the response body as JSON. Raises ProviderAway if it is not JSON."""
    try:
        text = redact(response.content.decode(), [secret for secret in secrets if secret])
        body = msgspec.json.decode(text)
        # NUL characters are removed, because Postgres' jsonb does not accept them.
        return _without_nul(body) if "\\u0000" in text else body
    except (ValueError, RecursionError):
        # The new error drops its cause, because the cause may quote the body.
        raise ProviderAway(f"{provider} sent a body that is not JSON") from None


def parse_object(response: httpx.Response, provider: str, secrets: Sequence[str]) -> dict[str, Any]:
    return an_object(parse(response, provider, secrets), provider)


def an_object(body: Any, provider: str) -> dict[str, Any]:
    """Return the value if it is a JSON object. Raises ProviderAway if it is anything else."""
    if not isinstance(body, dict):
        raise ProviderAway(f"{provider} sent a body that is not a JSON object")
    return body


def words(
    response: httpx.Response, provider: str, secrets: Sequence[str], headers: Sequence[str] = ()
) -> str:
    """Build an error text from a refusal: the status and the provider's reason, if it gives one.

    The text is on one line. `headers` names response headers that may contain a reason too.
    """
    try:
        body = parse_object(response, provider, secrets)
    except ProviderAway:
        body = {}
    named = (redact(response.headers[name], secrets) for name in headers if name in response.headers)
    text = " ".join("; ".join([*complaints(body), *named]).split())
    return f"{provider} answered {response.status_code}{': ' if text else ''}{text[:MAX_WORDS_CHARS]}"


def complaints(body: dict[str, Any]) -> Iterator[str]:
    """Yield the error texts of a response body.

    They are in `message` and in `error`, which may be a text or an object with `message` and
    `errors`.
    """
    error = body.get("error")
    found = [body.get("message"), error]
    if isinstance(error, dict):
        errors = error.get("errors")
        found += [error.get("message"), *(errors if isinstance(errors, list) else [errors])]
    for text in found:
        if isinstance(text, str) and text.strip():
            yield text


def text(value: Any) -> str | None:
    return value.strip() or None if isinstance(value, str) else None


def number(value: Any, lowest: float, highest: float) -> float | None:
    return float(value) if _is_number(value) and lowest <= value <= highest else None


def whole(value: Any, lowest: int, highest: int) -> int | None:
    return int(value) if _is_number(value) and lowest <= value <= highest and value % 1 == 0 else None


def price(value: Any) -> Decimal:
    """Convert a value to a price.

    Raises Nonsense for anything but a number between MIN_PRICE and MAX_PRICE.
    """
    if not _is_number(value) or not MIN_PRICE <= value <= MAX_PRICE:
        raise Nonsense(f"the price must be a number from {MIN_PRICE} to {MAX_PRICE}")
    return Decimal(str(value))


def web_address(value: Any) -> str | None:
    return value if isinstance(value, str) and value.startswith(("https://", "http://")) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value
