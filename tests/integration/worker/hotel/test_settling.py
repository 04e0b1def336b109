"""Tests of payments that are still open when their task ends: they are checked until they are
settled or given up.
"""

import json
from typing import Any
from uuid import uuid4

import pytest

from services.worker.hotel import charging
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.tasks.payments import settle, settle_open
from shared.hotel.contracts.payments import PROCESS, SETTLE, SETTLE_OPEN, SettleOpen, SettlePayment
from shared.ledger.transitions.operate import CANCEL
from shared.testing import run_inline
from tests.integration.worker.hotel.paying import (
    CONFIRMED_CARD,
    SLOW_CARD,
    a_day_later,
    account,
    at_once,
    books,
    charged_once,
    children,
    pay,
    payment,
    settings,
)
from tests.platform import Platform
from tests.sandbox import Sandbox


async def test_a_payment_that_the_customer_confirms_is_checked_until_it_is_settled(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, CONFIRMED_CARD)
    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    result = platform.vault.read(PROCESS, "result", row["result"], task_id, None, unmask=True)
    assert (result["success"], result["status"]) == (False, "requires_action")
    assert result["client_secret"].startswith(result["transaction_id"])
    assert result["client_secret"] not in row["result"]

    (look,) = await children(platform, task_id)
    assert look["wait_s"] == pytest.approx(60, abs=5)
    await at_once(platform, look["id"])
    settled = json.loads((await platform.until(look["id"], "success"))["result"])
    assert (settled["success"], settled["status"], settled["looks_again_in_s"]) == (
        False,
        "requires_action",
        120,
    )
    (next_look,) = await children(platform, look["id"])
    assert next_look["wait_s"] == pytest.approx(120, abs=5)

    await sandbox.put(f"/sandbox/stripe/intents/{result['transaction_id']}", {"status": "succeeded"})
    await at_once(platform, next_look["id"])
    settled = json.loads((await platform.until(next_look["id"], "success"))["result"])
    assert (settled["success"], settled["looks_again_in_s"]) == (True, None)
    assert await children(platform, next_look["id"]) == []
    await charged_once(platform, sandbox, task_id)

    # Settling a payment again after it has ended asks the payment service nothing.
    asked = (await books(sandbox))["requests"]
    recorded = await payment(platform, task_id)
    (once_more,) = await platform.submit(SETTLE, SettlePayment(payment_id=recorded["id"]))
    assert json.loads((await platform.until(once_more, "success"))["result"])["success"] is True
    assert (await books(sandbox))["requests"] == asked


@pytest.mark.parametrize(
    ("decision", "status", "code"),
    [("declined", "declined", "card_declined"), ("canceled", "failed", "canceled")],
)
async def test_a_slow_payment_may_end_without_money(
    platform: Platform, sandbox: Sandbox, decision: str, status: str, code: str
) -> None:
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, SLOW_CARD)
    await platform.until(task_id, "success")
    recorded = await payment(platform, task_id)
    assert recorded["status"] == "processing"
    await sandbox.put(f"/sandbox/stripe/intents/{recorded['intent']}", {"status": decision})

    (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=recorded["id"], looks=1_000))
    settled = json.loads((await platform.until(look, "success"))["result"])

    assert (settled["success"], settled["status"], settled["looks_again_in_s"]) == (False, status, None)
    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["error_code"]) == (status, code)
    (intent,) = (await books(sandbox))["intents"]
    assert intent["status"] == "canceled"


async def test_a_payment_that_is_not_confirmed_in_two_weeks_is_canceled(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, CONFIRMED_CARD)
    await platform.until(task_id, "success")
    await platform.rows("UPDATE payment SET created_at = now() - interval '15 days'")
    recorded = await payment(platform, task_id)
    (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=recorded["id"], looks=50))
    settled = json.loads((await platform.until(look, "success"))["result"])
    assert (settled["status"], settled["looks_again_in_s"]) == ("failed", None)
    (intent,) = (await books(sandbox))["intents"]
    assert intent["status"] == "canceled"


async def test_a_payment_is_not_checked_for_more_than_two_weeks(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, SLOW_CARD)
    await platform.until(task_id, "success")
    recorded = await payment(platform, task_id)

    for age, pause_s in (("13 days", 6 * 3_600), ("15 days", None)):
        await platform.rows(f"UPDATE payment SET created_at = now() - interval '{age}'")
        (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=recorded["id"], looks=50))
        settled = json.loads((await platform.until(look, "success"))["result"])
        assert (settled["status"], settled["looks_again_in_s"]) == ("processing", pause_s)


@pytest.mark.parametrize(("drop", "status", "charges"), [("after", "succeeded", 1), ("before", "failed", 0)])
async def test_the_unknown_charge_of_a_canceled_task_is_looked_up(
    platform: Platform, sandbox: Sandbox, drop: str, status: str, charges: int
) -> None:
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop=drop)
    task_id = await pay(platform)
    await platform.until(task_id, "retry")
    await platform.database.run(CANCEL, id=task_id)

    (early,) = await platform.submit(SETTLE_OPEN, SettleOpen())
    assert json.loads((await platform.until(early, "success"))["result"])["submitted"] == 0
    await a_day_later(platform, sandbox, task_id)
    (late,) = await platform.submit(SETTLE_OPEN, SettleOpen())
    assert json.loads((await platform.until(late, "success"))["result"])["submitted"] == 1
    (look,) = await children(platform, late)
    await platform.start_scheduler()
    await platform.until(look["id"], "success")

    assert (await payment(platform, task_id))["status"] == status
    assert len((await books(sandbox))["charges"]) == charges


async def test_a_payment_whose_charge_was_not_requested_is_not_changed(platform: Platform) -> None:
    task_id = await pay(platform)
    user = await account(platform)
    opened = await charging.open_payment(platform.database, task_id, user, 125_000, "INR")
    assert opened is not None
    before = await payment(platform, task_id)
    stripe: Any = None

    run = await run_inline(
        settle,
        SettlePayment(payment_id=opened.id),
        gateways={StripeGateway: stripe},
        database=platform.database,
    )

    assert run.result is not None
    assert (run.result.success, run.result.status) == (False, "created")
    assert await payment(platform, task_id) == before


async def test_only_payments_that_no_task_follows_count_as_left_open(platform: Platform) -> None:
    user = await account(platform)
    for number, (status, updated, key_used, created) in enumerate(
        (
            ("unknown", "13 h", "24 h", "24 h"),
            ("requires_action", "13 h", "14 days", "14 days"),
            # The following payments do not count as left open. In this order: the idempotency key
            # may still be in use, another attempt follows, the payment was given up, it has ended,
            # it was never requested.
            ("unknown", "13 h", "13 h", "14 h"),
            ("processing", "11 h", "3 days", "3 days"),
            ("unknown", "16 days", "16 days", "16 days"),
            ("declined", "13 h", "24 h", "24 h"),
            ("created", "13 h", "24 h", "24 h"),
        )
    ):
        await platform.rows(
            'INSERT INTO payment ("user", task, amount_minor, currency, status, updated_at, key_used_at,'
            " created_at) VALUES ({}, {}, {}, 'INR', {}, now() - {}::text::interval,"
            " now() - {}::text::interval, now() - {}::text::interval)",
            *(user, uuid4(), number + 1, status, updated, key_used, created),
        )

    run = await run_inline(settle_open, SettleOpen(), database=platform.database)

    expected = await platform.rows("SELECT id FROM payment WHERE amount_minor <= 2")
    submitted = [child.params.payment_id for child in run.children if isinstance(child.params, SettlePayment)]
    assert set(submitted) == {row["id"] for row in expected}
    assert run.result is not None
    assert run.result.submitted == 2
