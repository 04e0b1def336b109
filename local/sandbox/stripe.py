"""The sandbox's Stripe: payment intents of one account, with the API key `sk_test_sandbox`.

`PUT /sandbox/stripe` changes its clock and its faults. `PUT /sandbox/stripe/intents/{id}` makes the
decision of the customer or the bank for which a payment intent waits.
"""

import asyncio
import copy
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Annotated, Literal

from litestar import Response, Router, get, post, put
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from local.sandbox.stripe_forms import (
    BROKEN,
    CARDS,
    DECLINE,
    UNCONFIRMED,
    Asked,
    Form,
    check_card,
    check_form,
    check_key,
    metadata,
    read_form,
)
from local.sandbox.stripe_keys import Answer, Body, Keys, LateRefusal, Refusal, unexpected_state
from local.sandbox.stripe_refunds import Refunds


class Turn(Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of a request that changes the simulated Stripe. Fields that are left out keep their
    value.
    """

    #: Hours by which the simulated Stripe's clock is ahead of the real time.
    hours_later: Annotated[float, Meta(ge=0)] | None = None
    #: Seconds between a charge and the answer to its request. Until then, its idempotency key
    #: counts as in use.
    answer_after_s: Annotated[float, Meta(ge=0, le=300)] | None = None
    #: Whether the next charge takes the money, but is answered with a 500, and so is every
    #: repetition of its request.
    charge_and_break: bool | None = None
    #: Whether all charges are refused because the account is not activated. Nothing is charged, and
    #: each refusal is stored under its idempotency key.
    refuse_charges: bool | None = None
    #: Whether all refunds are refused because the account has too little money. Each refusal is
    #: stored under its idempotency key.
    refuse_refunds: bool | None = None


class Decision(Struct, kw_only=True, forbid_unknown_fields=True):
    """The final decision of the customer or the bank about a payment intent."""

    status: Literal["succeeded", "declined", "canceled", "processing"]


class Stripe:
    """The simulated Stripe: the payment intents, charges and refunds of one account."""

    name = "stripe"

    def __init__(self) -> None:
        self._settings = Turn(
            hours_later=0.0,
            answer_after_s=0.0,
            charge_and_break=False,
            refuse_charges=False,
            refuse_refunds=False,
        )
        self._intents: dict[str, Body] = {}
        self._charges: list[Body] = []
        self._refunds = Refunds()
        self._keys = Keys()
        self._numbers = count(1)
        # A random part of all ids, different in each run, because the ids are stored in a database
        # that outlives the sandbox.
        self._life = secrets.token_hex(4)
        self._requests: Counter[str] = Counter()
        self._refused: Counter[str] = Counter()

    def router(self) -> Router:
        itself = Provide(lambda: self, sync_to_thread=False)
        handlers = [create, confirm, cancel, read, list_intents, refund, list_refunds, turn, decide]
        return Router("/", route_handlers=handlers, dependencies={"stripe": itself})

    def books(self) -> Body:
        return {
            # The charges that took money.
            "charges": self._charges,
            # The refunds that returned money.
            "refunds": self._refunds.all,
            "intents": [
                {name: intent[name] for name in ("id", "status", "amount", "currency", "metadata")}
                for intent in self._intents.values()
            ],
            "requests": dict(self._requests),
            "refused": dict(self._refused),
            "replays": self._keys.replays,
            "conflicts": self._keys.conflicts,
        }

    def turn(self, change: Turn) -> Turn:
        for name in change.__struct_fields__:
            if getattr(change, name) is not None:
                setattr(self._settings, name, getattr(change, name))
        return self._settings

    async def create(self, form: Form) -> Answer:
        """Create a payment intent. Raises Refusal."""
        check_form(form)
        if self._settings.refuse_charges:
            raise LateRefusal(400, "Your account cannot currently make charges.")
        number = next(self._numbers)
        identity = f"pi_sandbox{self._life}{number:06d}"
        intent: Body = {
            "id": identity,
            "object": "payment_intent",
            "status": "requires_confirmation" if "payment_method" in form else "requires_payment_method",
            "amount": int(form["amount"]),
            "amount_received": 0,
            "currency": form["currency"],
            "customer": form.get("customer"),
            "payment_method": form.get("payment_method"),
            "client_secret": f"{identity}_secret_sandbox{number}",
            "created": int(self._now()),
            "last_payment_error": None,
            "latest_charge": None,
            "next_action": None,
            "metadata": metadata(form),
        }
        self._intents[identity] = intent
        if form.get("confirm") != "true":
            return Answer(200, copy.deepcopy(intent))
        return await self._confirm(intent, form)

    async def confirm(self, identity: str, form: Form) -> Answer:
        """Confirm a payment intent. Raises Refusal."""
        intent = self.find(identity)
        if form.keys() - {"payment_method", "off_session", "return_url"}:
            raise Refusal(400, "Received unknown parameter.", code="parameter_unknown")
        if intent["status"] not in ("requires_confirmation", "requires_payment_method"):
            raise unexpected_state(intent)
        check_card(form)
        intent["payment_method"] = form.get("payment_method", intent["payment_method"])
        if intent["payment_method"] is None:
            raise Refusal(400, "There is no payment method to confirm with.", param="payment_method")
        return await self._confirm(intent, form)

    async def cancel(self, identity: str) -> Answer:
        """Cancel a payment intent. Raises Refusal."""
        intent = self.find(identity)
        if intent["status"] in ("succeeded", "canceled", "processing"):
            raise unexpected_state(intent)
        intent["status"] = "canceled"
        return Answer(200, copy.deepcopy(intent))

    def find(self, identity: str) -> Body:
        """Find a payment intent by its id. Raises Refusal if it does not exist."""
        if identity not in self._intents:
            message = f"No such payment_intent: '{identity}'"
            raise Refusal(404, message, code="resource_missing", param="intent")
        return self._intents[identity]

    async def read(self, identity: str) -> Answer:
        """Answer a request that reads one payment intent. Raises Refusal."""
        return Answer(200, copy.deepcopy(self.find(identity)))

    async def page(self, parameters: Form) -> Answer:
        """Answer with one page of payment intents, newest first. Raises Refusal."""
        unknown = parameters.keys() - {"limit", "starting_after", "created[gte]"}
        limit, since = parameters.get("limit", "10"), parameters.get("created[gte]", "0")
        if unknown or not limit.isdecimal() or not 1 <= int(limit) <= 100 or not since.isdecimal():
            raise Refusal(400, "Received unknown or invalid parameters.", code="parameter_invalid_integer")
        found = [intent for intent in reversed(self._intents.values()) if intent["created"] >= int(since)]
        if "starting_after" in parameters:
            last = self.find(parameters["starting_after"])
            found = found[found.index(last) + 1 :]
        page = found[: int(limit)]
        body = {"object": "list", "has_more": len(found) > len(page), "data": copy.deepcopy(page)}
        return Answer(200, body)

    async def refund(self, form: Form) -> Answer:
        """Refund a payment intent. Raises Refusal."""
        if form.keys() - {"payment_intent", "metadata[payment]", "reason"}:
            raise Refusal(400, "Received unknown parameter.", code="parameter_unknown")
        intent = self.find(form.get("payment_intent", ""))
        prefix, solvent = f"re_sandbox{self._life}", not self._settings.refuse_refunds
        return Answer(200, self._refunds.make(intent, prefix, int(self._now()), solvent=solvent))

    async def refunds(self, parameters: Form) -> Answer:
        """Answer with the refunds of a payment intent, newest first. Raises Refusal."""
        intent = self.find(parameters.get("payment_intent", ""))
        return Answer(200, self._refunds.page(intent["id"]))

    def decide(self, identity: str, status: str) -> Body:
        """Make the decision for a payment intent that waits for the customer or the bank. Raises
        Refusal.
        """
        intent = self.find(identity)
        if intent["status"] not in ("requires_action", "processing"):
            raise unexpected_state(intent)
        self._settle(intent, status)
        return intent

    async def answer(self, name: str, request: Asked, work: Callable[[Form], Awaitable[Answer]]) -> Answer:
        """Check the API key, then answer the request. A POST is carried out once per idempotency
        key.
        """
        try:
            check_key(request)
            form = await read_form(request)
            if request.method == "POST":
                written = f"{request.url.path} {sorted(form.items())}"
                key = request.headers.get("idempotency-key")
                answer = await self._keys.once(key, written, self._now(), lambda: work(form))
            else:
                answer = await work(form)
        except Refusal as refusal:
            answer = Answer(refusal.status, refusal.body)
        self._requests[name] += 1
        if answer.status >= 400:
            self._refused[str(answer.status)] += 1
        return answer

    async def _confirm(self, intent: Body, form: Form) -> Answer:
        outcome = CARDS[intent["payment_method"]]
        unconfirmed = outcome == "requires_action" and form.get("off_session") == "true"
        self._settle(intent, "declined" if unconfirmed else outcome, UNCONFIRMED if unconfirmed else DECLINE)
        answer = self._answer(intent)
        await asyncio.sleep(self._settings.answer_after_s or 0)
        if self._settings.charge_and_break:
            self._settings.charge_and_break = False
            return Answer(500, {"error": BROKEN})
        return answer

    def _settle(self, intent: Body, outcome: str, decline: Body = DECLINE) -> None:
        intent["status"] = "requires_payment_method" if outcome == "declined" else outcome
        intent["next_action"] = {"type": "use_stripe_sdk"} if outcome == "requires_action" else None
        if outcome == "declined":
            intent["last_payment_error"] = {"type": "card_error", **decline}
        if outcome == "succeeded":
            intent["amount_received"] = intent["amount"]
            intent["latest_charge"] = f"ch_sandbox{self._life}{len(self._charges) + 1:06d}"
            self._charges.append(
                {
                    "intent": intent["id"],
                    "amount": intent["amount"],
                    "currency": intent["currency"],
                    "payment": intent["metadata"].get("payment"),
                }
            )

    def _answer(self, intent: Body) -> Answer:
        written = copy.deepcopy(intent)
        if written["last_payment_error"] is None:
            return Answer(200, written)
        return Answer(402, {"error": {**written["last_payment_error"], "payment_intent": written}})

    def _now(self) -> float:
        return time.time() + 3_600 * (self._settings.hours_later or 0)


@post("/stripe/v1/payment_intents")
async def create(request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("create", request, stripe.create))


@post("/stripe/v1/payment_intents/{identity:str}/confirm")
async def confirm(identity: FromPath[str], request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("confirm", request, lambda form: stripe.confirm(identity, form)))


@post("/stripe/v1/payment_intents/{identity:str}/cancel")
async def cancel(identity: FromPath[str], request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("cancel", request, lambda _: stripe.cancel(identity)))


@get("/stripe/v1/payment_intents/{identity:str}")
async def read(identity: FromPath[str], request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("read", request, lambda _: stripe.read(identity)))


@get("/stripe/v1/payment_intents")
async def list_intents(request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("list", request, stripe.page))


@post("/stripe/v1/refunds")
async def refund(request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("refund", request, stripe.refund))


@get("/stripe/v1/refunds")
async def list_refunds(request: Asked, stripe: NamedDependency[Stripe]) -> Response[Body]:
    return response(await stripe.answer("list refunds", request, stripe.refunds))


@put("/sandbox/stripe")
async def turn(data: JSONBody[Turn], stripe: NamedDependency[Stripe]) -> Turn:
    return stripe.turn(data)


@put("/sandbox/stripe/intents/{identity:str}")
async def decide(
    identity: FromPath[str], data: JSONBody[Decision], stripe: NamedDependency[Stripe]
) -> Response[Body]:
    try:
        return Response(stripe.decide(identity, data.status))
    except Refusal as refusal:
        return Response(refusal.body, status_code=refusal.status)


def response(answer: Answer) -> Response[Body]:
    headers = {"idempotent-replayed": "true"} if answer.replayed else {}
    return Response(answer.body, status_code=answer.status, headers=headers)
