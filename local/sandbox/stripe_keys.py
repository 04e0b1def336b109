"""Idempotency keys as Stripe keeps them: one answer for each, for a day from its first use.

Nothing is kept of a request that was refused before it was carried out.
"""

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

LIFE_S = 24 * 3_600
LONGEST_KEY = 255


class Refusal(Exception):
    """An answer in Stripe's own shape that nothing was done for."""

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **more}}


def unexpected_state(intent: Body) -> Refusal:
    message = f"This PaymentIntent has a status of {intent['status']}, in which that is not possible."
    return Refusal(400, message, code="payment_intent_unexpected_state", payment_intent=copy.deepcopy(intent))


@dataclass(frozen=True)
class Answer:
    """What a request that was carried out is answered, now and whenever it comes again."""

    status: int
    body: Body
    replayed: bool = False


@dataclass
class _Kept:
    """What a key stands for."""

    request: str
    used_at: float
    #: Null while it is carried out.
    answer: Answer | None = None


class Keys:
    """Those of one account."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self.replays = self.conflicts = 0

    async def once(
        self, key: str | None, request: str, now: float, carry_out: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Carry the request out, or say what was said. `now` in seconds. Raises Refusal."""
        if key is None:
            return await carry_out()
        if len(key) > LONGEST_KEY:
            raise Refusal(400, f"Idempotency-Key must have at most {LONGEST_KEY} characters.")
        known = self._kept.get(key)
        if known is not None and now < known.used_at + LIFE_S:
            return self._again(known, request)
        kept = self._kept[key] = _Kept(request, now)
        try:
            kept.answer = await carry_out()
        finally:
            if kept.answer is None:
                del self._kept[key]
        return kept.answer

    def _again(self, known: _Kept, request: str) -> Answer:
        if known.request != request:
            message = "Keys for idempotent requests can only be used with the parameters of their first use."
            raise Refusal(400, message, "idempotency_error")
        if known.answer is None:
            self.conflicts += 1
            message = "There is another request with this Idempotency-Key in progress."
            raise Refusal(409, message, "idempotency_error", code="idempotency_key_in_use")
        self.replays += 1
        return Answer(known.answer.status, known.answer.body, replayed=True)
