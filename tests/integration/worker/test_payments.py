"""Payments from real workers to the payment service: charged once, whatever is lost or dies."""

import json
from typing import Any
from uuid import UUID

import pytest

from local import outside
from services.worker import charging
from services.worker.gateways.provider import Pace
from services.worker.gateways.stripe import StripeGateway
from shared.contracts.payments import (
    PROCESS,
    SETTLE,
    SETTLE_OPEN,
    ProcessPayment,
    SettleOpen,
    SettlePayment,
)
from shared.errors import Retry
from shared.ledger import engine, statements
from shared.ledger.ids import uuid7
from shared.settings import Settings
from tests.eventually import eventually
from tests.platform import VAPID_PRIVATE_KEY, Platform
from tests.sandbox import Sandbox

#: Three times what the design promises for a rescue.
RESCUE_LIMIT_S = 45
CARD, CONFIRMED_CARD, SLOW_CARD = "pm_card_visa", "pm_card_authenticationRequired", "pm_sandbox_processing"
DECLINED_CARD, CUSTOMER = "pm_card_chargeDeclined", "cus_asha"


def settings(sandbox: Sandbox, **more: str) -> dict[str, str]:
    """A worker's, that lead to the sandbox."""
    return outside.stand_ins({}, sandbox.url, VAPID_PRIVATE_KEY).environment | more


async def account(platform: Platform) -> int:
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash) VALUES ('asha@often-hotels.example', '-')"
        " ON CONFLICT (email) DO UPDATE SET email = excluded.email RETURNING id"
    )
    return int(row["id"])


async def pay(platform: Platform, card: str = CARD) -> UUID:
    """The task's id."""
    params = ProcessPayment(
        user_id=await account(platform),
        amount="1250.00",
        currency="INR",
        payment_method=card,
        customer=CUSTOMER,
    )
    (task_id,) = await platform.submit(PROCESS, params)
    return task_id


async def payment(platform: Platform, task_id: UUID) -> dict[str, Any]:
    (row,) = await platform.rows("SELECT * FROM payment WHERE task = {}", task_id)
    return row


async def books(sandbox: Sandbox) -> dict[str, Any]:
    of_stripe: dict[str, Any] = (await sandbox.books())["stripe"]
    return of_stripe


async def charged_once(platform: Platform, sandbox: Sandbox, task_id: UUID) -> None:
    """By the books of the service, and by ours."""
    row = await payment(platform, task_id)
    assert row["status"] == "succeeded"
    assert (await books(sandbox))["charges"] == [
        {"intent": row["intent"], "amount": 125_000, "currency": "inr", "payment": str(row["id"])}
    ]


async def at_once(platform: Platform, task_id: UUID) -> None:
    """What waits in Postgres for its time is due now; a scheduler sends it."""
    await platform.rows("UPDATE task SET send_at = now() WHERE id = {} AND send_at IS NOT NULL", task_id)


async def a_day_later(platform: Platform, sandbox: Sandbox, task_id: UUID) -> None:
    await platform.rows(
        "UPDATE payment SET key_used_at = key_used_at - interval '25 h', created_at = created_at -"
        " interval '25 h', updated_at = updated_at - interval '25 h' WHERE task = {}",
        task_id,
    )
    await sandbox.put("/sandbox/stripe", {"hours_later": 25})


async def children(platform: Platform, task_id: UUID) -> list[dict[str, Any]]:
    return await platform.rows(
        "SELECT id, name, params, extract(epoch FROM send_at - created_at)::float8 AS wait_s FROM task"
        " WHERE parent = {} ORDER BY id",
        task_id,
    )


async def test_a_charge_and_the_success_of_its_task_are_recorded_together(
    platform: Platform, sandbox: Sandbox
) -> None:
    worker = await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform)

    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    recorded = await payment(platform, task_id)
    result = platform.vault.read(PROCESS, "result", row["result"], unmask=True)
    assert (result["success"], result["status"], result["client_secret"]) == (True, "succeeded", None)
    assert (result["amount"], result["currency"]) == ("1250.00", "INR")
    assert (result["transaction_id"], result["payment_id"]) == (recorded["intent"], str(recorded["id"]))
    assert recorded["amount_minor"] == 125_000
    assert await children(platform, task_id) == []
    await charged_once(platform, sandbox, task_id)
    assert CARD not in platform.log_of(worker) + row["params"]


async def test_a_declined_card_ends_the_task_and_is_not_tried_again(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, DECLINED_CARD)

    row = await platform.until(task_id, "failure")

    assert row["failures"] == 1
    assert "card_declined" in row["error_message"]
    assert "Your card was declined" in row["error_message"]
    assert DECLINED_CARD not in row["error_message"] + row["error_traceback"]
    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["error_code"]) == ("declined", "card_declined")
    assert recorded["intent"] is not None
    assert (await books(sandbox))["charges"] == []

    await platform.rows(statements.RETRY, task_id, "an operator")
    again = await platform.until(task_id, "failure")
    assert again["error_message"] == row["error_message"]
    assert (await books(sandbox))["requests"] == {"create": 1}


async def test_a_payment_that_the_customer_confirms_is_looked_at_until_it_is_settled(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, CONFIRMED_CARD)
    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    result = platform.vault.read(PROCESS, "result", row["result"], unmask=True)
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

    # What is final is not asked for again.
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


async def test_nobody_looks_at_a_payment_for_more_than_two_weeks(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, SLOW_CARD)
    await platform.until(task_id, "success")
    recorded = await payment(platform, task_id)

    for age, pause_s in (("13 days", 6 * 3_600), ("15 days", None)):
        await platform.rows(f"UPDATE payment SET created_at = now() - interval '{age}'")
        (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=recorded["id"], looks=50))
        settled = json.loads((await platform.until(look, "success"))["result"])
        assert (settled["status"], settled["looks_again_in_s"]) == ("processing", pause_s)


async def test_a_charge_whose_answer_is_lost_on_the_wire_is_not_made_twice(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop="after", times=2)
    task_id = await pay(platform)

    await platform.until(task_id, "retry")
    assert (await payment(platform, task_id))["status"] == "unknown"
    # The second answer is lost as well, and what was done can't be looked up at once.
    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    await charged_once(platform, sandbox, task_id)
    assert await sandbox.happened() == {"stripe dropped after": 2}


async def test_a_worker_that_is_killed_between_charge_and_record_has_charged_once(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker(**settings(sandbox))
    await sandbox.put("/sandbox/stripe", {"answer_after_s": 2})
    task_id = await pay(platform)

    async def charged() -> bool:
        return bool((await books(sandbox))["charges"])

    await eventually(charged)
    async with engine.transaction():
        # The answer comes, and can't be written down.
        await platform.rows("SELECT 1 FROM payment WHERE task = {} FOR UPDATE", task_id)
        await eventually(lambda: platform.rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
        worker.kill()
        worker.wait()
        assert (await payment(platform, task_id))["status"] == "unknown"
    await platform.start_worker(**settings(sandbox))

    row = await platform.until(task_id, "success", "failure", timeout_s=RESCUE_LIMIT_S)

    assert row["status"] == "success", row["error_message"]
    assert row["claim"] > 1
    await charged_once(platform, sandbox, task_id)
    assert (await books(sandbox))["replays"] == 1


async def test_a_charge_that_the_service_broke_at_is_found(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.put("/sandbox/stripe", {"charge_and_break": True})
    task_id = await pay(platform)

    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    assert row["failures"] == 1
    await charged_once(platform, sandbox, task_id)


@pytest.mark.parametrize(("drop", "key_number"), [("after", 1), ("before", 2)])
async def test_a_day_later_a_charge_is_looked_up_before_it_is_made_anew(
    platform: Platform, sandbox: Sandbox, drop: str, key_number: int
) -> None:
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop=drop)
    task_id = await pay(platform)
    await platform.until(task_id, "retry")
    await a_day_later(platform, sandbox, task_id)

    await platform.start_scheduler()
    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    await charged_once(platform, sandbox, task_id)
    assert (await books(sandbox))["requests"] == {"create": 1, "list": 1}
    # Only where none was found, a new key was used.
    assert (await payment(platform, task_id))["key_number"] == key_number


@pytest.mark.parametrize(("drop", "status", "charges"), [("after", "succeeded", 1), ("before", "failed", 0)])
async def test_what_a_task_that_was_cancelled_did_not_learn_is_looked_up(
    platform: Platform, sandbox: Sandbox, drop: str, status: str, charges: int
) -> None:
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop=drop)
    task_id = await pay(platform)
    await platform.until(task_id, "retry")
    await platform.rows(statements.CANCEL, task_id)

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


async def test_a_refused_charge_can_be_made_when_the_reason_is_gone(
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
    await platform.rows(statements.RETRY, task_id, "the key is right now")

    row = await platform.until(task_id, "success", "failure")
    assert row["status"] == "success", row["error_message"]
    await charged_once(platform, sandbox, task_id)


async def test_a_status_that_nobody_knows_is_reported_and_not_guessed_at(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", status=200, body='{"id": "pi_1", "status": "pondering"}')
    task_id = await pay(platform)

    row = await platform.until(task_id, "failure")

    assert "pi_1 is 'pondering', which is not known here" in row["error_message"]
    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["intent"], recorded["error_code"]) == (
        "failed",
        "pi_1",
        "unknown_status",
    )


async def test_without_a_key_nothing_is_charged_and_the_setting_is_named(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox, STRIPE_SECRET_KEY=""))

    row = await platform.until(await pay(platform), "failure")

    assert row["failures"] == 1
    assert "STRIPE_SECRET_KEY is not set" in row["error_message"]


async def test_a_user_who_is_switched_off_is_not_charged(platform: Platform, sandbox: Sandbox) -> None:
    task_id = await pay(platform)
    await platform.rows("UPDATE account SET is_active = false")
    await platform.start_worker(**settings(sandbox))

    row = await platform.until(task_id, "failure")

    assert row["failures"] == 1
    assert "does not exist or is not active" in row["error_message"]
    assert await platform.rows("SELECT 1 FROM payment") == []
    assert (await books(sandbox))["requests"] == {}


async def test_of_two_attempts_at_one_row_only_one_takes_a_new_key(
    platform: Platform, sandbox: Sandbox
) -> None:
    environment = settings(sandbox)
    configured = Settings(
        stripe_key=environment["STRIPE_SECRET_KEY"], stripe_url=environment["STRIPE_BASE_URL"]
    )
    stripe = StripeGateway.from_settings(configured, Pace(""))
    (now,) = await platform.rows("SELECT now() AS now")
    task_id = uuid7(now["now"])
    await charging.open_payment(task_id, await account(platform), 125_000, "INR")
    await platform.rows("UPDATE payment SET status = 'unknown', key_used_at = now() - interval '2 days'")
    reads = [await charging.open_payment(task_id, await account(platform), 125_000, "INR") for _ in range(2)]
    first, second = [read for read in reads if read is not None]

    used, finding = await charging.charge(stripe, first, CARD, None)
    assert (used.key_number, finding.status) == (2, "succeeded")
    # The other one has looked before that, and found nothing.
    await sandbox.arm(service="stripe", path="payment_intents", status=200, body='{"data": []}')
    with pytest.raises(Retry, match="another attempt"):
        await charging.charge(stripe, second, CARD, None)
    with pytest.raises(Retry, match="another attempt"):
        await charging.settle(second, finding)
    await charging.settle(used, finding)
    await stripe.close()

    await charged_once(platform, sandbox, task_id)
