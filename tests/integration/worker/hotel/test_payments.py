"""Tests of payments with real workers and a simulated payment service: a payment is charged once,
whatever is lost or dies.
"""

import pytest

from services.worker.hotel import charging
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.tasks.payments import bind_customer
from shared.errors import PermanentError, Retry
from shared.hotel import billing
from shared.hotel.contracts.payments import (
    BIND_CUSTOMER,
    PROCESS,
    BindCustomer,
    CustomerBound,
    ProcessPayment,
)
from shared.ledger.transitions.operate import CANCEL, RETRY, UNEDITED
from shared.testing import InlineRun, run_inline
from tests.eventually import eventually
from tests.integration.worker.hotel.paying import (
    CARD,
    DECLINED_CARD,
    a_day_later,
    account,
    another_account,
    books,
    charged_once,
    children,
    opened,
    pay,
    payment,
    retried,
    settings,
)
from tests.platform import Platform
from tests.sandbox import Sandbox

#: Seconds until a rescue must have happened. The design promises a third of that.
RESCUE_LIMIT_S = 45


async def test_a_charge_and_the_success_of_its_task_are_recorded_together(
    platform: Platform, sandbox: Sandbox
) -> None:
    worker = await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform)

    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    recorded = await payment(platform, task_id)
    result = platform.vault.read(PROCESS, "result", row["result"], task_id, None, unmask=True)
    assert (result["success"], result["status"], result["client_secret"]) == (True, "succeeded", None)
    assert (result["amount"], result["currency"]) == ("1250.00", "INR")
    assert (result["transaction_id"], result["payment_id"]) == (recorded["intent"], str(recorded["id"]))
    assert recorded["amount_minor"] == 125_000
    assert await children(platform, task_id) == []
    await charged_once(platform, sandbox, task_id)
    assert CARD not in platform.log_of(worker) + row["params"]


async def test_a_declined_card_ends_the_task_without_a_retry(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    task_id = await pay(platform, DECLINED_CARD)

    row = await platform.until(task_id, "failure")

    assert (row["failures"], row["error_kind"]) == (1, "refused")
    assert "card_declined" in row["error_message"]
    assert "Your card was declined" in row["error_message"]
    assert DECLINED_CARD not in row["error_message"] + row["error_traceback"]
    recorded = await payment(platform, task_id)
    assert (recorded["status"], recorded["error_code"]) == ("declined", "card_declined")
    assert recorded["intent"] is not None
    assert (await books(sandbox))["charges"] == []

    await platform.database.run(RETRY, id=task_id, reason="an operator", delay_s=None, **UNEDITED)
    again = await platform.until(task_id, "failure")
    assert again["error_message"] == row["error_message"]
    assert (await books(sandbox))["requests"] == {"create": 1}


async def test_a_charge_whose_answer_is_lost_is_not_made_twice(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", drop="after", times=2)
    task_id = await pay(platform)

    await platform.until(task_id, "retry")
    assert (await payment(platform, task_id))["status"] == "unknown"
    # The second answer is lost, too, and at that time the payment service does not list the charge
    # yet.
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
    connection = await platform.database.connect()
    async with connection.transaction():
        # The charge is made and the payment's row is written. A lock on the task's row keeps its
        # success from being recorded.
        await connection.fetch("SELECT 1 FROM task WHERE id = $1 FOR UPDATE", task_id)
        waiting = (
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND query LIKE '%SET status = ''success''%'"
        )
        await eventually(lambda: platform.rows(waiting))
        worker.kill()
        worker.wait()
        assert (await payment(platform, task_id))["status"] == "unknown"
    await connection.close()
    await platform.start_worker(**settings(sandbox))

    row = await platform.until(task_id, "success", "failure", timeout_s=RESCUE_LIMIT_S)

    assert row["status"] == "success", row["error_message"]
    assert row["claim"] > 1
    await charged_once(platform, sandbox, task_id)
    assert (await books(sandbox))["replays"] == 1


async def test_a_charge_answered_with_a_server_error_is_found(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await sandbox.put("/sandbox/stripe", {"charge_and_break": True})
    task_id = await pay(platform)

    row = await platform.until(task_id, "success", "failure")

    assert row["status"] == "success", row["error_message"]
    assert row["failures"] == 1
    await charged_once(platform, sandbox, task_id)


@pytest.mark.parametrize(("drop", "key_number"), [("after", 1), ("before", 2)])
async def test_a_day_later_a_charge_is_looked_up_before_it_is_repeated(
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
    # The number of the idempotency key rises only if the service has no charge under the old key.
    # Only then is a new key safe.
    assert (await payment(platform, task_id))["key_number"] == key_number


async def test_an_unknown_status_is_reported_and_not_guessed_at(platform: Platform, sandbox: Sandbox) -> None:
    await platform.start_worker(**settings(sandbox))
    await sandbox.arm(service="stripe", status=200, body='{"id": "pi_1", "status": "pondering"}')
    task_id = await pay(platform)

    row = await platform.until(task_id, "failure")

    assert "pi_1 is 'pondering', an unknown status: check it in Stripe's dashboard" in row["error_message"]
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


async def test_an_inactive_user_is_not_charged(platform: Platform, sandbox: Sandbox) -> None:
    task_id = await pay(platform)
    await platform.rows("UPDATE account SET is_active = false")
    await platform.start_worker(**settings(sandbox))

    row = await platform.until(task_id, "failure")

    assert row["failures"] == 1
    assert "does not exist or is not active" in row["error_message"]
    assert await platform.rows("SELECT 1 FROM payment") == []
    assert (await books(sandbox))["requests"] == {}


async def test_only_one_of_two_attempts_at_one_row_takes_a_new_key(
    platform: Platform, sandbox: Sandbox, stripe: StripeGateway
) -> None:
    task_id = await pay(platform)
    await opened(platform, task_id)
    await platform.rows("UPDATE payment SET status = 'unknown', key_used_at = now() - interval '2 days'")
    first, second = [await opened(platform, task_id) for _ in range(2)]

    used, finding = await charging.charge(platform.database, stripe, first, CARD, None)
    assert (used.key_number, finding.status) == (2, "succeeded")
    # This attempt gets an empty list of charges, as if it had asked before the other attempt made
    # its charge.
    await sandbox.arm(
        service="stripe", path="payment_intents", status=200, body='{"data": [], "has_more": false}'
    )
    with pytest.raises(Retry, match="another attempt"):
        await charging.charge(platform.database, stripe, second, CARD, None)
    with pytest.raises(Retry, match="another attempt"):
        await charging.settle(platform.database, second, finding)
    await charging.settle(platform.database, used, finding)

    await charged_once(platform, sandbox, task_id)


async def test_an_attempt_whose_task_was_canceled_meanwhile_charges_nothing(
    platform: Platform, sandbox: Sandbox, stripe: StripeGateway
) -> None:
    task_id = await pay(platform)
    read = await opened(platform, task_id)
    # The worker is frozen here. The task is canceled, and its workflow finds nothing to refund.
    await platform.database.run(CANCEL, id=task_id)

    with pytest.raises(PermanentError, match="was not charged, because its task ended"):
        await charging.charge(platform.database, stripe, read, CARD, None)

    assert (await payment(platform, task_id))["status"] == "created"
    assert (await books(sandbox))["requests"] == {}
    # Once an operator has retried the task, it charges.
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox))
    await retried(platform, task_id)
    await charged_once(platform, sandbox, task_id)


async def test_a_customer_of_another_account_or_of_no_account_is_not_charged(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    user = await account(platform)
    other = await another_account(platform)
    await platform.rows(billing.BIND_CUSTOMER, "cus_ravi", other)
    for customer in ("cus_ravi", "cus_nobody"):
        params = ProcessPayment(
            user_id=user, amount="12.50", currency="USD", payment_method=CARD, customer=customer
        )
        (task_id,) = await platform.submit(PROCESS, params)
        row = await platform.until(task_id, "success", "failure")
        assert (row["status"], row["failures"]) == ("failure", 1)
        assert f"customer must belong to the account of user {user}" in row["error_message"]
        assert customer not in row["error_message"]
    assert (await books(sandbox))["charges"] == []

    # Once the customer is bound to the account, a retry of the task charges it.
    (bind,) = await platform.submit(BIND_CUSTOMER, BindCustomer(user_id=user, customer="cus_nobody"))
    await platform.until(bind, "success")
    await platform.start_scheduler()
    await retried(platform, task_id)
    assert len((await books(sandbox))["charges"]) == 1


async def test_a_customer_stays_with_its_account(platform: Platform) -> None:
    user = await account(platform)
    other = await another_account(platform)

    async def bind(user_id: int) -> InlineRun[CustomerBound]:
        params = BindCustomer(user_id=user_id, customer="cus_asha")
        return await run_inline(bind_customer, params, database=platform.database)

    assert (await bind(user)).result == CustomerBound(success=True, user_id=user)
    assert (await bind(user)).result == CustomerBound(success=True, user_id=user)
    with pytest.raises(PermanentError, match="the customer already belongs to another account"):
        await bind(other)
    with pytest.raises(PermanentError, match="does not exist"):
        await bind(10**12)
