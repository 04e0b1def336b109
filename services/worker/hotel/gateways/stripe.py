"""Stripe's PaymentIntents: charges a card, and says what became of it.

What is known at the end of a request that got no answer is nothing: the caller repeats it under the same key,
or looks the intent up.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Self
from urllib.parse import quote
from uuid import UUID

import httpx
import msgspec

from services.worker.hotel.gateways import answer, retry_after
from services.worker.hotel.gateways.provider import (
    Pace,
    Provider,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from shared.errors import PermanentError
from shared.hotel.settings import HotelSettings

NAME = "Stripe"
#: Answers of another version might read differently.
VERSION = "2026-10-28.endive"
#: Where Stripe doesn't say how long: another request under the same key runs; too many requests.
CONFLICT_DELAY_S, BUSY_DELAY_S = 2.0, 10.0
#: Codes that mean the same whatever the status.
BUSY = ("rate_limit", "lock_timeout")
#: As many intents as a page may hold.
PAGE_SIZE = 100
INTENTS = "/v1/payment_intents"
REFUNDS = "/v1/refunds"
#: Statuses of a refund that gives nothing back.
NOT_REFUNDED = ("failed", "canceled")


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What a customer is to pay, now."""

    amount_minor: int
    #: ISO 4217.
    currency: str
    payment_method: str
    customer: str | None
    #: Kept with the intent, to find it by.
    payment_id: UUID


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """A charge as Stripe has it."""

    id: str
    #: In Stripe's words.
    status: str
    #: With it the customer's browser can confirm the payment.
    client_secret: str | None
    #: Of the last attempt to charge, if that failed.
    error_code: str | None
    error_message: str | None


class CardDeclined(PermanentError):
    """The bank says no; only the customer can do something about it."""

    def __init__(self, message: str, *, intent_id: str | None, code: str) -> None:
        super().__init__(message)
        self.intent_id = intent_id
        self.code = code


class AlreadyRefunded(ProviderRefused):
    """All of it was given back before."""


class StripeGateway:
    """One account."""

    def __init__(self, key: str, url: str, provider: Provider) -> None:
        self._key = key
        self._url = url.rstrip("/")
        self._provider = provider

    @classmethod
    def from_settings(cls, settings: HotelSettings, pace: Pace) -> Self:
        provider = Provider(NAME, pace=pace, rate=settings.stripe_rate, deadline=settings.stripe_deadline)
        return cls(settings.stripe_key, settings.stripe_url, provider)

    @property
    def configured(self) -> bool:
        return bool(self._key)

    async def charge(self, charge: Charge, key: str) -> Intent:
        """Create and confirm; once for each idempotency key, for a day.

        Raises CardDeclined, ProviderRefused (nothing done), ProviderBusy and ProviderAway (outcome unknown).
        """
        raw = await self._ask(
            "POST",
            INTENTS,
            secrets=(charge.payment_method, charge.customer or ""),
            headers={"Idempotency-Key": key},
            data=_form(charge),
        )
        return _intent(raw, self._key)

    async def read(self, intent_id: str) -> Intent:
        """Raises ProviderRefused, ProviderBusy and ProviderAway."""
        return _intent(await self._ask("GET", f"{INTENTS}/{quote(intent_id, safe='')}"), self._key)

    async def cancel(self, intent_id: str) -> Intent:
        """Nobody can pay it any more; raises ProviderRefused where it is over already, and as `read` does."""
        path = f"{INTENTS}/{quote(intent_id, safe='')}/cancel"
        reason = {"cancellation_reason": "abandoned"}
        return _intent(await self._ask("POST", path, data=reason), self._key)

    async def refund(self, intent_id: str, key: str) -> str:
        """Give all of it back, once, whatever the key. Returns the number of the refund.

        Raises ProviderRefused (nothing was given back), ProviderBusy and ProviderAway (outcome unknown).
        """
        try:
            asked = {"payment_intent": intent_id}
            raw = await self._ask("POST", REFUNDS, headers={"Idempotency-Key": key}, data=asked)
        except AlreadyRefunded:
            page = await self._ask("GET", REFUNDS, params={"payment_intent": intent_id, "limit": 1})
            raw = next(iter(_rows(page, "refunds")), {})
        return _refund_id(raw)

    async def find(self, payment_id: UUID, since: datetime) -> Intent | None:
        """The newest intent of this payment that was created since then (aware); raises as `read` does."""
        asked: dict[str, Any] = {"created[gte]": int(since.timestamp()), "limit": PAGE_SIZE}
        while True:
            page = await self._ask("GET", INTENTS, params=asked)
            rows = _rows(page, "payment intents")
            for row in rows:
                if row["metadata"].get("payment") == str(payment_id):
                    return _intent(row, self._key)
            if not page.get("has_more"):
                return None
            asked["starting_after"] = rows[-1]["id"]

    async def close(self) -> None:
        await self._provider.close()

    async def _ask(
        self,
        method: str,
        path: str,
        *,
        secrets: Sequence[str] = (),
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        if not self.configured:
            raise ProviderRefused("STRIPE_SECRET_KEY is not set, so Stripe is not asked")
        sent = {"Authorization": f"Bearer {self._key}", "Stripe-Version": VERSION, **(headers or {})}
        response = await self._provider.request(method, self._url + path, headers=sent, **options)
        if not response.is_success:
            raise _failure(response, (self._key, *secrets))
        return answer.parse_object(response, NAME, [self._key])


def _form(charge: Charge) -> dict[str, str]:
    # Not `off_session`: the customer waits at his screen, so a bank that wants to hear from him can.
    form = {
        "amount": str(charge.amount_minor),
        "currency": charge.currency.lower(),
        "payment_method": charge.payment_method,
        # Named, because other methods would want an address to send the customer back to.
        "payment_method_types[]": "card",
        "confirm": "true",
        "metadata[payment]": str(charge.payment_id),
    }
    return form | ({"customer": charge.customer} if charge.customer else {})


def _intent(raw: dict[str, Any], key: str) -> Intent:
    """Raises ProviderAway where it is none."""
    identity, status = answer.text(raw.get("id")), answer.text(raw.get("status"))
    if identity is None or status is None:
        raise ProviderAway(f"{NAME} answered something else than a payment intent")
    error = raw.get("last_payment_error")
    error = error if isinstance(error, dict) else {}
    return Intent(
        id=identity,
        status=status,
        client_secret=answer.text(raw.get("client_secret")),
        error_code=answer.text(error.get("code")),
        error_message=answer.text(error.get("message")),
    )


def _refund_id(raw: dict[str, Any]) -> str:
    """Raises ProviderAway where it is none, ProviderRefused where it gives nothing back."""
    identity, status = answer.text(raw.get("id")), answer.text(raw.get("status"))
    if identity is None or status is None:
        raise ProviderAway(f"{NAME} answered something else than a refund")
    if status in NOT_REFUNDED:
        raise ProviderRefused(f"{NAME} says that the refund {identity} is {status}: look there")
    return identity


def _rows(page: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Raises ProviderAway where one can't be read: it might be the one that is looked for."""
    rows = page.get("data")
    good = isinstance(rows, list) and all(
        isinstance(row, dict) and answer.text(row.get("id")) and isinstance(row.get("metadata"), dict)
        for row in rows
    )
    more = page.get("has_more")
    if not isinstance(rows, list) or not good or not isinstance(more, bool) or (more and not rows):
        raise ProviderAway(f"{NAME} answered something else than a list of {what}")
    return rows


def _failure(
    response: httpx.Response, secrets: Sequence[str]
) -> PermanentError | ProviderBusy | ProviderAway:
    error = _error(response, secrets)
    code = answer.text(error.get("code"))
    details = ", ".join(_details(error))
    said = answer.words(response, NAME, secrets) + (f" ({details})" if details else "")
    if response.status_code == httpx.codes.PAYMENT_REQUIRED and not error:
        return ProviderAway(f"{said}, without a reason")
    if response.status_code == httpx.codes.PAYMENT_REQUIRED:
        intent = error.get("payment_intent")
        intent_id = answer.text(intent.get("id")) if isinstance(intent, dict) else None
        return CardDeclined(said, intent_id=intent_id, code=code or "unknown")
    if response.status_code == httpx.codes.CONFLICT:
        return ProviderBusy(said, delay_s=_delay_s(response, CONFLICT_DELAY_S))
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or code in BUSY:
        return ProviderBusy(said, delay_s=_delay_s(response, BUSY_DELAY_S))
    return (AlreadyRefunded if code == "charge_already_refunded" else ProviderRefused)(said)


def _error(response: httpx.Response, secrets: Sequence[str]) -> dict[str, Any]:
    try:
        error = answer.parse_object(response, NAME, secrets).get("error")
    except ProviderAway:
        return {}
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> Iterator[str]:
    """What a program would look at."""
    for name in ("type", "code", "decline_code", "param"):
        value = answer.text(error.get(name))
        if value is not None:
            yield f"{name} {value[:100]}"


def _delay_s(response: httpx.Response, otherwise: float) -> float:
    delay_s = retry_after.wait_s(response, datetime.now(UTC))
    return otherwise if delay_s is None else delay_s
