"""Tests of the gateway to Stripe, over real sockets: one charge per idempotency key, and each kind
of failure.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from uuid import uuid4

import pytest

from services.worker.hotel.gateways.circuits import FAILURES
from services.worker.hotel.gateways.provider import (
    Pace,
    ProviderAway,
    ProviderBusy,
    ProviderRefused,
)
from services.worker.hotel.gateways.stripe import CardDeclined, Intent, StripeGateway
from shared.hotel.settings import HotelSettings
from tests.eventually import eventually
from tests.integration.worker.hotel.gateways.failures import IMPATIENT, NO_ANSWER, everything_said
from tests.integration.worker.hotel.paying import CARD, CUSTOMER, books, wanted
from tests.sandbox import Sandbox

#: API key for tests that check that no error contains the key.
KEY = "key-that-nobody-may-see"
UNKNOWN_CARD = "pm_card_nobody"
AN_HOUR = timedelta(hours=1)


def settings(url: str, **fields: Any) -> HotelSettings:
    given = {"stripe_key": "sk_test_sandbox", "stripe_url": f"{url}/stripe", "stripe_rate": "1000/second"}
    return HotelSettings(**given | fields)


@pytest.fixture
async def gateway(sandbox: Sandbox, pace: Pace) -> AsyncIterator[StripeGateway]:
    gateway = StripeGateway.from_settings(settings(sandbox.url, stripe_deadline=IMPATIENT), pace)
    yield gateway
    await gateway.close()


async def test_a_charge_is_made_once_per_key(gateway: StripeGateway, sandbox: Sandbox) -> None:
    charge = wanted()

    first = await gateway.charge(charge, "key-1")
    again = await gateway.charge(charge, "key-1")

    assert (first.status, first.error_code, first.id[:3]) == ("succeeded", None, "pi_")
    assert first == again
    written = await books(sandbox)
    assert written["charges"] == [
        {"intent": first.id, "amount": 125_000, "currency": "inr", "payment": str(charge.payment_id)}
    ]
    assert written["replays"] == 1


async def test_a_forgotten_key_charges_again(gateway: StripeGateway, sandbox: Sandbox) -> None:
    await gateway.charge(wanted(), "key-1")
    await sandbox.put("/sandbox/stripe", {"hours_later": 25})

    await gateway.charge(wanted(), "key-1")

    assert len((await books(sandbox))["charges"]) == 2


@pytest.mark.parametrize("card", ["pm_card_chargeDeclined", "pm_card_visa_chargeDeclined"])
async def test_a_declined_card_names_the_intent_and_stays_declined(
    gateway: StripeGateway, sandbox: Sandbox, card: str
) -> None:
    charge = wanted(card)
    for _ in range(2):
        with pytest.raises(CardDeclined, match=r"402: Your card was declined.*generic_decline") as caught:
            await gateway.charge(charge, "key-1")
        assert caught.value.code == "card_declined"
        assert card not in everything_said(caught.value)

    assert caught.value.intent_id is not None
    intent = await gateway.read(caught.value.intent_id)
    assert (intent.status, intent.error_code) == ("requires_payment_method", "card_declined")
    assert (await books(sandbox))["charges"] == []


async def test_a_charge_that_needs_confirmation_returns_a_client_secret(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    intent = await gateway.charge(wanted("pm_card_authenticationRequired"), "key-1")
    assert (intent.status, bool(intent.client_secret)) == ("requires_action", True)
    assert (await books(sandbox))["charges"] == []

    await sandbox.put(f"/sandbox/stripe/intents/{intent.id}", {"status": "succeeded"})

    assert (await gateway.read(intent.id)).status == "succeeded"
    assert len((await books(sandbox))["charges"]) == 1


async def test_a_slow_bank_is_processing_until_it_has_decided(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    intent = await gateway.charge(wanted("pm_sandbox_processing"), "key-1")
    assert intent.status == "processing"

    await sandbox.put(f"/sandbox/stripe/intents/{intent.id}", {"status": "declined"})

    declined = await gateway.read(intent.id)
    assert (declined.status, declined.error_message) == ("requires_payment_method", "Your card was declined.")


async def test_an_unknown_status_is_returned_unchanged(gateway: StripeGateway, sandbox: Sandbox) -> None:
    await sandbox.arm(service="stripe", status=200, body='{"id": "pi_1", "status": "pondering"}')

    intent = await gateway.charge(wanted(), "key-1")

    assert intent == Intent(
        id="pi_1", status="pondering", client_secret=None, error_code=None, error_message=None
    )


@pytest.mark.parametrize(
    "body", [{}, {"id": "pi_1"}, {"id": 7, "status": "succeeded"}, {"status": "succeeded"}]
)
async def test_an_answer_without_an_intent_counts_as_no_answer(
    gateway: StripeGateway, sandbox: Sandbox, body: Any
) -> None:
    await sandbox.arm(service="stripe", status=200, body=json.dumps(body))

    with pytest.raises(ProviderAway, match="not a payment intent"):
        await gateway.charge(wanted(), "key-1")


async def test_an_intent_is_found_on_a_later_page(gateway: StripeGateway, sandbox: Sandbox) -> None:
    sought = wanted()
    made = await gateway.charge(sought, "sought")
    # The charges are made a few at a time. All at once could exceed the deadline on a busy machine.
    for first in range(0, 110, 11):
        numbers = range(first, first + 11)
        await asyncio.gather(*(gateway.charge(wanted(), f"key-{number}") for number in numbers))

    found = await gateway.find(sought.payment_id, datetime.now(UTC) - AN_HOUR)

    assert found == made
    assert (await books(sandbox))["requests"]["list"] == 2
    assert await gateway.find(sought.payment_id, datetime.now(UTC) + AN_HOUR) is None
    assert await gateway.find(uuid4(), datetime.now(UTC) - AN_HOUR) is None


@pytest.mark.parametrize(
    "body",
    [
        {"data": "?"},
        {"data": [{"id": "pi_1"}]},
        {"data": [{"id": "", "metadata": {}}]},
        {"data": ["?"]},
        {"data": [], "has_more": True},
    ],
)
async def test_an_unreadable_list_raises_instead_of_finding_nothing(
    gateway: StripeGateway, sandbox: Sandbox, body: Any
) -> None:
    await sandbox.arm(service="stripe", status=200, body=json.dumps(body))

    with pytest.raises(ProviderAway, match="not a list"):
        await gateway.find(uuid4(), datetime.now(UTC) - AN_HOUR)


async def test_a_provider_that_does_not_listen_counts_as_away(dead_url: str, pace: Pace) -> None:
    gateway = StripeGateway.from_settings(settings(dead_url, stripe_key=KEY), pace)

    with pytest.raises(ProviderAway, match="ConnectError") as caught:
        await gateway.charge(wanted(), "key-1")
    await gateway.close()

    assert_says_nothing(caught.value)


@pytest.mark.parametrize("fault", NO_ANSWER)
async def test_a_provider_that_does_not_answer_counts_as_away_and_the_key_can_be_reused(
    gateway: StripeGateway, sandbox: Sandbox, fault: dict[str, Any]
) -> None:
    charge = wanted()
    await sandbox.arm(service="stripe", **fault)

    with pytest.raises(ProviderAway) as caught:
        await gateway.charge(charge, "key-1")
    assert_says_nothing(caught.value)

    # At first, Stripe answers that the idempotency key is in use, because it is still processing
    # the late request.
    async def answered() -> bool:
        try:
            return (await gateway.charge(charge, "key-1")).status == "succeeded"
        except ProviderBusy:
            return False

    await eventually(answered)
    assert len((await books(sandbox))["charges"]) == 1


async def test_a_stored_error_is_repeated_and_the_charge_is_found(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    charge = wanted()
    await sandbox.put("/sandbox/stripe", {"charge_and_break": True})

    for _ in range(2):
        with pytest.raises(ProviderAway, match="500"):
            await gateway.charge(charge, "key-1")

    found = await gateway.find(charge.payment_id, datetime.now(UTC) - AN_HOUR)
    assert found is not None
    assert found.status == "succeeded"
    assert len((await books(sandbox))["charges"]) == 1


async def test_a_request_is_retried_soon_when_its_key_is_in_use(sandbox: Sandbox, pace: Pace) -> None:
    gateway = StripeGateway.from_settings(settings(sandbox.url), pace)
    charge = wanted()
    await sandbox.put("/sandbox/stripe", {"answer_after_s": 0.5})
    first = asyncio.create_task(gateway.charge(charge, "key-1"))

    async def charged() -> bool:
        return bool((await books(sandbox))["charges"])

    await eventually(charged)
    with pytest.raises(ProviderBusy, match=r"409.*idempotency_key_in_use") as caught:
        await gateway.charge(charge, "key-1")
    assert 1 <= caught.value.wait_s(datetime.now(UTC)) <= 5

    assert (await first).status == "succeeded"
    await gateway.close()
    assert len((await books(sandbox))["charges"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "shortest_s", "longest_s"),
    [
        (429, {"error": {"message": "Too many requests."}}, {}, 5, 30),
        (429, {"error": {"code": "lock_timeout"}}, {"retry-after": "7"}, 6.9, 7),
        (429, "?", {"retry-after": "soon"}, 5, 30),
        (400, {"error": {"code": "rate_limit"}}, {"retry-after": "0"}, 0, 0),
    ],
)
async def test_too_many_requests_are_retried_at_the_given_time(
    gateway: StripeGateway,
    sandbox: Sandbox,
    status: int,
    body: Any,
    headers: dict[str, str],
    shortest_s: float,
    longest_s: float,
) -> None:
    await sandbox.arm(service="stripe", status=status, body=json.dumps(body), headers=headers)

    with pytest.raises(ProviderBusy) as caught:
        await gateway.charge(wanted(), "key-1")

    assert shortest_s <= caught.value.wait_s(datetime.now(UTC)) <= longest_s


async def test_a_retry_after_may_be_a_date(gateway: StripeGateway, sandbox: Sandbox) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    await sandbox.arm(service="stripe", status=429, headers={"retry-after": date})

    with pytest.raises(ProviderBusy) as caught:
        await gateway.read("pi_1")

    assert 80 < caught.value.wait_s(datetime.now(UTC)) <= 90


async def test_a_refusal_contains_the_reason_but_no_card(gateway: StripeGateway, sandbox: Sandbox) -> None:
    with pytest.raises(ProviderRefused, match=r"400: No such PaymentMethod.*param payment_method") as caught:
        await gateway.charge(wanted(UNKNOWN_CARD), "key-1")
    assert UNKNOWN_CARD not in everything_said(caught.value)

    with pytest.raises(
        ProviderRefused, match=r"404: No such payment_intent.*pi_nobody.expand=1.*resource_missing"
    ):
        await gateway.read("pi_nobody?expand=1")
    written = await books(sandbox)
    assert (written["refused"], written["intents"]) == ({"400": 1, "404": 1}, [])
    # A refused request does not use up its idempotency key, so the key can be used again.
    assert (await gateway.charge(wanted(), "key-1")).status == "succeeded"


async def test_a_key_cannot_be_used_for_another_charge(gateway: StripeGateway, sandbox: Sandbox) -> None:
    payment_id = uuid4()
    await gateway.charge(wanted(payment_id=payment_id), "key-1")

    with pytest.raises(ProviderRefused, match="idempotency_error"):
        await gateway.charge(wanted(payment_id=payment_id, amount_minor=1), "key-1")

    assert len((await books(sandbox))["charges"]) == 1


async def test_a_wrong_api_key_is_refused_without_repeating_it(sandbox: Sandbox, pace: Pace) -> None:
    gateway = StripeGateway.from_settings(settings(sandbox.url, stripe_key=KEY), pace)
    refusal = json.dumps({"error": {"message": f"Invalid API Key provided: {KEY}", "param": KEY}})
    with pytest.raises(ProviderRefused, match="401: Invalid API Key"):
        await gateway.charge(wanted(), "key-1")
    await sandbox.arm(service="stripe", status=403, body=refusal)

    with pytest.raises(ProviderRefused, match="403: Invalid API Key") as caught:
        await gateway.charge(wanted(), "key-1")
    await gateway.close()

    assert_says_nothing(caught.value)


async def test_without_an_api_key_no_request_is_sent(sandbox: Sandbox, pace: Pace) -> None:
    gateway = StripeGateway.from_settings(settings(sandbox.url, stripe_key=""), pace)

    with pytest.raises(ProviderRefused, match="STRIPE_SECRET_KEY is not set"):
        await gateway.charge(wanted(), "key-1")
    await gateway.close()

    assert not gateway.configured
    assert (await books(sandbox))["requests"] == {}


async def test_a_service_that_is_down_gets_no_requests_for_a_while(
    gateway: StripeGateway, sandbox: Sandbox
) -> None:
    await sandbox.arm(service="stripe", status=503, times=None)
    for _ in range(FAILURES):
        with pytest.raises(ProviderAway):
            await gateway.read("pi_1")

    with pytest.raises(ProviderBusy, match="failed 5 times in a row"):
        await gateway.read("pi_1")

    assert (await sandbox.happened())["stripe 503"] == FAILURES


def assert_says_nothing(error: BaseException) -> None:
    said = everything_said(error)
    for secret in (KEY, "sk_test_sandbox", CARD, CUSTOMER):
        assert secret not in said
