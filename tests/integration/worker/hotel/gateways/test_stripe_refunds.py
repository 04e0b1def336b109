"""Tests of refunds by the gateway to Stripe, over real sockets."""

import json

import pytest

from services.worker.hotel.gateways.provider import (
    ProviderAway,
    ProviderRefused,
)
from services.worker.hotel.gateways.stripe import RefusedBefore, StripeGateway
from tests.integration.worker.hotel.paying import books, wanted
from tests.sandbox import Sandbox


async def test_a_charge_is_refunded_once_whatever_the_key(stripe: StripeGateway, sandbox: Sandbox) -> None:
    charged = await stripe.charge(wanted(), "key-1")

    first = await stripe.refund(charged.id, "refund-1")
    assert await stripe.refund(charged.id, "refund-1") == first
    assert await stripe.refund(charged.id, "refund-2") == first
    # Now the sandbox makes the refund but drops the answer.
    other = await stripe.charge(wanted(), "key-2")
    await sandbox.arm(service="stripe", path="refunds", drop="after")
    with pytest.raises(ProviderAway):
        await stripe.refund(other.id, "refund-3")
    assert await stripe.refund(other.id, "refund-3") != first

    written = await books(sandbox)
    assert [(each["payment_intent"], each["amount"]) for each in written["refunds"]] == [
        (charged.id, 125_000),
        (other.id, 125_000),
    ]


async def test_a_refusal_that_is_repeated_from_its_key_is_recognized(
    stripe: StripeGateway, sandbox: Sandbox
) -> None:
    charged = await stripe.charge(wanted(), "key-1")
    await sandbox.put("/sandbox/stripe", {"refuse_refunds": True})
    with pytest.raises(ProviderRefused, match="balance_insufficient") as caught:
        await stripe.refund(charged.id, "refund-1")
    assert not isinstance(caught.value, RefusedBefore)
    await sandbox.put("/sandbox/stripe", {"refuse_refunds": False})

    with pytest.raises(RefusedBefore, match="balance_insufficient"):
        await stripe.refund(charged.id, "refund-1")

    assert await stripe.refund(charged.id, "refund-2")
    # The key works again once Stripe has forgotten it.
    await sandbox.put("/sandbox/stripe", {"hours_later": 25})
    assert await stripe.refund(charged.id, "refund-1")
    assert len((await books(sandbox))["refunds"]) == 1


async def test_a_charge_that_was_not_made_is_not_refunded(stripe: StripeGateway, sandbox: Sandbox) -> None:
    waiting = await stripe.charge(wanted("pm_card_authenticationRequired"), "key-1")
    for intent in (waiting.id, "pi_unknown"):
        with pytest.raises(ProviderRefused):
            await stripe.refund(intent, f"refund-{intent}")
    refused = json.dumps({"id": "re_1", "status": "failed"})
    await sandbox.arm(service="stripe", status=200, body=refused)
    with pytest.raises(ProviderRefused, match="refund re_1 is failed"):
        await stripe.refund(waiting.id, "refund-3")
    assert (await books(sandbox))["refunds"] == []
