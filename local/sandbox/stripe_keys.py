"""Simulates Stripe's idempotency keys: one answer per key, for a day from its first use.

A request that is refused before it begins to execute does not use up its key. An error that occurs
later is stored like any other answer.
"""

import copy
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]

LIFE_S = 24 * 3_600
MAX_KEY_CHARS = 255


class Refusal(Exception):
    """Raised to refuse a request with an error in Stripe's own format. The request had no effect,
    and it does not use up its idempotency key.
    """

    def __init__(self, status: int, message: str, kind: str = "invalid_request_error", **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **more}}


class LateRefusal(Refusal):
    """Raised to refuse a request that has begun to execute. The request had no effect either, but
    the refusal is stored under its idempotency key.
    """


def unexpected_state(intent: Body) -> Refusal:
    message = f"This PaymentIntent has a status of {intent['status']}, in which that is not possible."
    code = "payment_intent_unexpected_state"
    return LateRefusal(400, message, code=code, payment_intent=copy.deepcopy(intent))


@dataclass(frozen=True)
class Answer:
    """The answer to a request that has begun to execute. Repetitions of the request get the same
    answer.
    """

    status: int
    body: Body
    replayed: bool = False


@dataclass
class _Kept:
    """The request and the answer that are stored under an idempotency key."""

    request: str
    used_at: float
    #: The stored answer; None while the request is being carried out.
    answer: Answer | None = None


class Keys:
    """The idempotency keys that one account has used."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self.replays = self.conflicts = 0

    async def once(
        self, key: str | None, request: str, now: float, carry_out: Callable[[], Awaitable[Answer]]
    ) -> Answer:
        """Carry out a request once per idempotency key; a repetition gets the earlier answer.

        `now` is the time in seconds. Raises Refusal.
        """
        if key is None:
            return await carry_out()
        if len(key) > MAX_KEY_CHARS:
            raise Refusal(400, f"Idempotency-Key must have at most {MAX_KEY_CHARS} characters.")
        known = self._kept.get(key)
        if known is not None and now < known.used_at + LIFE_S:
            return self._again(known, request)
        kept = self._kept[key] = _Kept(request, now)
        try:
            kept.answer = await carry_out()
        except LateRefusal as refusal:
            kept.answer = Answer(refusal.status, refusal.body)
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
