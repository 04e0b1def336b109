"""What a provider's answer holds, which may be anything: read without guessing and without our secrets."""

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import httpx
import msgspec

from services.worker.hotel.gateways.provider import ProviderAway
from shared.telemetry.redaction import redact

#: Of a provider's own words, what an error repeats.
LONGEST_WORDS = 300
#: The columns of prices end here, numeric(12, 2); what rounds to nothing is no price either.
LOWEST_PRICE, HIGHEST_PRICE = 0.01, 9_999_999_999
#: Those of numbers of guests, integer.
HIGHEST_COUNT = 2**31 - 1


class Nonsense(ValueError):
    """A value that is there and can't be what it should be."""


def parse(response: httpx.Response, provider: str, secrets: Sequence[str]) -> Any:
    """The body's JSON; raises ProviderAway where it is none."""
    try:
        text = redact(response.content.decode(), [secret for secret in secrets if secret])
        body = msgspec.json.decode(text)
        # jsonb takes no NUL.
        return _without_nul(body) if "\\u0000" in text else body
    except (ValueError, RecursionError):
        # Without the cause: it may quote the body.
        raise ProviderAway(f"{provider} answered something else than JSON") from None


def parse_object(response: httpx.Response, provider: str, secrets: Sequence[str]) -> dict[str, Any]:
    return an_object(parse(response, provider, secrets), provider)


def an_object(body: Any, provider: str) -> dict[str, Any]:
    """Raises ProviderAway where it is none."""
    if not isinstance(body, dict):
        raise ProviderAway(f"{provider} answered something else than a JSON object")
    return body


def words(
    response: httpx.Response, provider: str, secrets: Sequence[str], headers: Sequence[str] = ()
) -> str:
    """Why the provider refuses, in its own words and one line; its status where it has none.

    `headers` name those that may hold a reason beside the body.
    """
    try:
        body = parse_object(response, provider, secrets)
    except ProviderAway:
        body = {}
    named = (redact(response.headers[name], secrets) for name in headers if name in response.headers)
    text = " ".join("; ".join([*complaints(body), *named]).split())
    return f"{provider} answered {response.status_code}{': ' if text else ''}{text[:LONGEST_WORDS]}"


def complaints(body: dict[str, Any]) -> Iterator[str]:
    """The texts of `message`, and of `error`, which is a text or holds `message` and `errors`."""
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
    """Raises Nonsense."""
    if not _is_number(value) or not LOWEST_PRICE <= value <= HIGHEST_PRICE:
        raise Nonsense("the price is no positive number")
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
