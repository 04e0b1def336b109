"""Client of Stripe's PaymentIntents: charges a card, and finds out how a charge ended.

If a request gets no response, its outcome is unknown. The caller then repeats it with the same
idempotency key, or looks the intent up.
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
from shared.errors import OutsideRefusal, PermanentError
from shared.hotel.settings import HotelSettings

NAME = "Stripe"
#: Version of Stripe's API that is requested. Responses of another version may have another format.
VERSION = "2026-10-28.endive"
#: Retry delays in seconds that apply if Stripe gives none: while another request with the same
#: idempotency key is running, and after too many requests.
CONFLICT_DELAY_S, BUSY_DELAY_S = 2.0, 10.0
#: Error codes that mean that Stripe is busy, whatever the status of the response.
BUSY = ("rate_limit", "lock_timeout")
#: Number of intents per page, which is Stripe's maximum.
PAGE_SIZE = 100
INTENTS = "/v1/payment_intents"
REFUNDS = "/v1/refunds"
#: Statuses of a refund that has returned no money.
NOT_REFUNDED = ("failed", "canceled")


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """A charge to be requested from Stripe, while the customer is present."""

    amount_minor: int
    #: Code of the currency, ISO 4217.
    currency: str
    payment_method: str
    customer: str | None
    #: Id of our payment. It is stored with the intent, so that the intent can be found by it.
    payment_id: UUID


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An intent: a charge as Stripe stores it."""

    id: str
    #: The status that Stripe reports, in Stripe's own terms.
    status: str
    #: A secret with which the customer's browser can confirm the payment.
    client_secret: str | None
    #: Code and message of the last charge's error; None if it did not fail.
    error_code: str | None
    error_message: str | None


class CardDeclined(OutsideRefusal):
    """Raised if the bank declined the payment. Only the customer can solve this."""

    def __init__(self, message: str, *, intent_id: str | None, code: str) -> None:
        super().__init__(message)
        self.intent_id = intent_id
        self.code = code


class AlreadyRefunded(ProviderRefused):
    """Raised if the whole amount was already refunded."""


class RefusedBefore(ProviderRefused):
    """Raised if Stripe repeats a refusal that it has stored under the idempotency key.

    The cause may be gone by now, but Stripe checks it again only under another key.
    """


class StripeGateway:
    """Client of one Stripe account."""

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
        """Create an intent and confirm it, which charges the card.

        Within a day, Stripe does it only once per idempotency key. Raises CardDeclined,
        ProviderRefused (nothing was done), ProviderBusy and ProviderAway (the outcome is unknown).
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
        """Read one intent by its id. Raises ProviderRefused, ProviderBusy and ProviderAway."""
        return _intent(await self._ask("GET", f"{INTENTS}/{quote(intent_id, safe='')}"), self._key)

    async def cancel(self, intent_id: str) -> Intent:
        """Cancel an intent, so that it cannot be paid any more.

        Raises the same errors as `read`, and ProviderRefused if the intent has already ended.
        """
        path = f"{INTENTS}/{quote(intent_id, safe='')}/cancel"
        reason = {"cancellation_reason": "abandoned"}
        return _intent(await self._ask("POST", path, data=reason), self._key)

    async def refund(self, intent_id: str, key: str) -> str:
        """Refund the whole amount, only once whatever the key. Returns the refund's id.

        Raises ProviderRefused (no money was returned), RefusedBefore (the same, and the key is used
        up for a day), ProviderBusy and ProviderAway (the outcome is unknown).
        """
        try:
            asked = {"payment_intent": intent_id}
            raw = await self._ask("POST", REFUNDS, headers={"Idempotency-Key": key}, data=asked)
        except AlreadyRefunded:
            page = await self._ask("GET", REFUNDS, params={"payment_intent": intent_id, "limit": 1})
            raw = next(iter(_rows(page, "refunds")), {})
        return _refund_id(raw)

    async def find(self, payment_id: UUID, since: datetime) -> Intent | None:
        """Find the newest intent of this payment that was created after `since`.

        `since` must have a time zone. Raises the same errors as `read`.
        """
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
            raise ProviderRefused("STRIPE_SECRET_KEY is not set, so Stripe cannot be used")
        sent = {"Authorization": f"Bearer {self._key}", "Stripe-Version": VERSION, **(headers or {})}
        response = await self._provider.request(method, self._url + path, headers=sent, **options)
        if not response.is_success:
            raise _failure(response, (self._key, *secrets))
        return answer.parse_object(response, NAME, [self._key])


def _form(charge: Charge) -> dict[str, str]:
    # `off_session` is not set, because the customer is present and the bank may ask for a
    # confirmation.
    form = {
        "amount": str(charge.amount_minor),
        "currency": charge.currency.lower(),
        "payment_method": charge.payment_method,
        # Only cards are allowed. Other payment methods need a page to which the customer returns
        # after paying.
        "payment_method_types[]": "card",
        "confirm": "true",
        "metadata[payment]": str(charge.payment_id),
    }
    return form | ({"customer": charge.customer} if charge.customer else {})


def _intent(raw: dict[str, Any], key: str) -> Intent:
    """Parse an intent. Raises ProviderAway if the response is not an intent."""
    identity, status = answer.text(raw.get("id")), answer.text(raw.get("status"))
    if identity is None or status is None:
        raise ProviderAway(f"{NAME} sent an answer that is not a payment intent")
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
    """Return the id of a refund from Stripe's response.

    Raises ProviderRefused if the refund has returned no money, and ProviderAway if the response is
    not a refund.
    """
    identity, status = answer.text(raw.get("id")), answer.text(raw.get("status"))
    if identity is None or status is None:
        raise ProviderAway(f"{NAME} sent an answer that is not a refund")
    if status in NOT_REFUNDED:
        raise ProviderRefused(
            f"{NAME} says that the refund {identity} is {status}: check it in Stripe's dashboard"
        )
    return identity


def _rows(page: dict[str, Any], what: str) -> list[dict[str, Any]]:
    """Return the rows of a page of intents or refunds.

    Raises ProviderAway if any row is unreadable, because that row might be the wanted one.
    """
    rows = page.get("data")
    good = isinstance(rows, list) and all(
        isinstance(row, dict) and answer.text(row.get("id")) and isinstance(row.get("metadata"), dict)
        for row in rows
    )
    more = page.get("has_more")
    if not isinstance(rows, list) or not good or not isinstance(more, bool) or (more and not rows):
        raise ProviderAway(f"{NAME} sent an answer that is not a list of {what}")
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
    if code == "charge_already_refunded":
        return AlreadyRefunded(said)
    is_repeated = response.headers.get("idempotent-replayed") == "true"
    return (RefusedBefore if is_repeated else ProviderRefused)(said)


def _error(response: httpx.Response, secrets: Sequence[str]) -> dict[str, Any]:
    try:
        error = answer.parse_object(response, NAME, secrets).get("error")
    except ProviderAway:
        return {}
    return error if isinstance(error, dict) else {}


def _details(error: dict[str, Any]) -> Iterator[str]:
    """Yield the fields of an error that identify its kind, for use in our error message."""
    for name in ("type", "code", "decline_code", "param"):
        value = answer.text(error.get(name))
        if value is not None:
            yield f"{name} {value[:100]}"


def _delay_s(response: httpx.Response, otherwise: float) -> float:
    delay_s = retry_after.wait_s(response, datetime.now(UTC))
    return otherwise if delay_s is None else delay_s
