"""Tests of charges that the payment service refuses, and of their retries."""

import asyncio
from typing import Any

import pytest

from services.worker.hotel import charging
from services.worker.hotel.gateways.provider import ProviderRefused
from services.worker.hotel.gateways.stripe import StripeGateway
from shared.errors import Retry
from shared.hotel.contracts.payments import (
    PROCESS,
    ProcessPayment,
)
from shared.ledger.transitions.operate import RETRY, UNEDITED
from tests.eventually import eventually
from tests.integration.worker.hotel.paying import (
    CARD,
    account,
    another_account,
    books,
    charged_once,
    opened,
    pay,
    payment,
    retried,
    settings,
)
from tests.platform import Platform
from tests.sandbox import Sandbox


async def test_a_refused_charge_can_be_made_once_the_reason_is_resolved(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    wrong = await platform.start_worker(**settings(sandbox, STRIPE_SECRET_KEY="sk_test_another"))
    task_id = await pay(platform)
    row = await platform.until(task_id, "failure")
    assert row["failures"] == 1
    assert "401: Invalid API Key" in row["error_message"]
    recorded = await payment(platform, task_id)
    assert (recorded["status"], "401" in recorded["error_message"]) == ("created", True)
    wrong.terminate()
    wrong.wait()

    await platform.start_worker(**settings(sandbox))
    await retried(platform, task_id)
    await charged_once(platform, sandbox, task_id)


async def test_a_stored_refusal_is_not_repeated_to_the_retry_of_a_charge(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.put("/sandbox/stripe", {"refuse_charges": True})
    task_id = await pay(platform)
    row = await platform.until(task_id, "failure")
    assert "cannot currently make charges" in row["error_message"]
    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["key_number"], recorded["key_used_at"]) == ("created", 2, None)

    await sandbox.put("/sandbox/stripe", {"refuse_charges": False})
    await retried(platform, task_id)
    await charged_once(platform, sandbox, task_id)


async def test_a_refusal_keeps_the_key_if_an_earlier_request_may_have_charged(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop="after")
    await sandbox.arm(service="stripe", status=400, body='{"error": {"message": "Refused."}}')
    task_id = await pay(platform)

    await platform.until(task_id, "failure")

    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["key_number"]) == ("unknown", 1)
    assert recorded["key_used_at"] is not None
    await retried(platform, task_id)
    await charged_once(platform, sandbox, task_id)


async def test_a_refusal_keeps_the_key_if_another_attempt_has_used_it_meanwhile(
    platform: Platform, sandbox: Sandbox, stripe: StripeGateway
) -> None:
    task_id = await pay(platform)
    first = await opened(platform, task_id)
    # The answer to the first attempt is late. Meanwhile, a second attempt charges.
    await sandbox.arm(service="stripe", status=401, delay_s=2)
    refused = asyncio.create_task(charging.charge(platform.database, stripe, first, CARD, None))

    async def requested() -> bool:
        return bool(await sandbox.happened())

    await eventually(requested)
    second = await opened(platform, task_id)
    assert second.status == "unknown"
    used, finding = await charging.charge(platform.database, stripe, second, CARD, None)
    with pytest.raises(ProviderRefused, match="401"):
        await refused

    assert (await payment(platform, task_id))["status"] == "unknown"
    await charging.settle(platform.database, used, finding)
    await charged_once(platform, sandbox, task_id)


async def test_an_attempt_that_missed_the_request_of_another_one_starts_again(
    platform: Platform, sandbox: Sandbox, stripe: StripeGateway
) -> None:
    task_id = await pay(platform)
    first, second = [await opened(platform, task_id) for _ in range(2)]
    used, finding = await charging.charge(platform.database, stripe, first, CARD, None)

    # If this request were sent and refused, the payment would get a new key and be charged twice.
    await sandbox.put("/sandbox/stripe", {"refuse_charges": True})
    with pytest.raises(Retry, match="another attempt"):
        await charging.charge(platform.database, stripe, second, CARD, None)

    await charging.settle(platform.database, used, finding)
    await charged_once(platform, sandbox, task_id)


async def test_a_retry_with_another_amount_currency_or_user_charges_nothing(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.put("/sandbox/stripe", {"refuse_charges": True})
    task_id = await pay(platform)
    await platform.until(task_id, "failure")
    await sandbox.put("/sandbox/stripe", {"refuse_charges": False})
    user, other = await account(platform), await another_account(platform)

    async def retried_with(user: int, amount: str, currency: str) -> dict[str, Any]:
        params = ProcessPayment(user_id=user, amount=amount, currency=currency, payment_method=CARD)
        text, key_id = platform.vault.seal_params(PROCESS, params, task_id, None)
        edits = UNEDITED | {"params": text, "key_id": key_id}
        await platform.database.run(RETRY, id=task_id, reason="an operator", delay_s=None, **edits)
        return await platform.until(task_id, "success", "failure")

    for edited, rule in (
        ((user, "99.00", "INR"), "amount must be 1250.00"),
        ((user, "1250.00", "USD"), "currency must be INR"),
        ((other, "1250.00", "INR"), f"user_id must be {user}"),
    ):
        row = await retried_with(*edited)
        assert (row["status"], row["error_kind"]) == ("failure", "permanent")
        assert rule in row["error_message"]
    assert (await books(sandbox))["charges"] == []

    # An erasure sets the user of the row to null. The result has the amount of the row, which the
    # parameters write in another way.
    await platform.rows('UPDATE payment SET "user" = NULL')
    row = await retried_with(user, "1250", "INR")
    assert row["status"] == "success", row["error_message"]
    result = platform.vault.read(PROCESS, "result", row["result"], task_id, None, unmask=True)
    assert (result["amount"], result["currency"], result["user_id"]) == ("1250.00", "INR", user)
    await charged_once(platform, sandbox, task_id)
