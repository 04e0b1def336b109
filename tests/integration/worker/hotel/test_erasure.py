"""Tests of the erasure of hotel accounts: what it waits for, and which accounts it must not
erase.
"""

from datetime import timedelta
from uuid import UUID

import pytest

from shared.contracts import catalogue
from shared.contracts.accounts import ERASE, EraseAccount
from shared.errors import NotBefore
from shared.hotel.contracts.payments import PROCESS, ProcessPayment
from shared.hotel.workflows.payment import payment as payment_flow
from shared.personal import directory
from tests.installed import INSTALLED
from tests.integration.worker.hotel.paying import CARD, account, books, pay, payment, settings
from tests.integration.workflows.crew import Crew
from tests.integration.workflows.plays import end_all, play, states, submit
from tests.integration.workflows.test_erasure import erased
from tests.platform import Platform
from tests.sandbox import Sandbox


async def erase(platform: Platform, account_id: int) -> UUID:
    """Request the erasure of an account, as the API does."""
    await platform.rows(
        "UPDATE account SET is_active = false, erasure_task = uuidv7() WHERE id = {}", account_id
    )
    (task_id,) = await platform.submit(ERASE, EraseAccount(account_id=account_id))
    return task_id


async def test_a_charge_that_has_begun_is_followed_to_its_end_and_no_other_charge_begins(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox, OFTEN_REQUEST_TIMEOUT="1"))
    await sandbox.arm(service="stripe", drop="after", times=2)
    begun = await pay(platform)
    await platform.until(begun, "retry")
    assert (await payment(platform, begun))["status"] == "unknown"
    guest = await account(platform)
    params = ProcessPayment(user_id=guest, amount="12.50", currency="USD", payment_method=CARD)
    (later,) = await platform.submit(PROCESS, params, delay=timedelta(days=1))

    erasure = await platform.until(await erase(platform, guest), "success", "failure", timeout_s=60)

    assert erasure["status"] == "success", erasure["error_message"]
    attempts = await platform.attempts(erasure["id"])
    assert any("tasks of the account that have not ended: 1" in row["error_message"] for row in attempts)
    assert await platform.rows("SELECT 1 FROM account") == []
    charged, canceled = await platform.tasks([begun, later])
    assert (charged["status"], charged["params"], charged["result"]) == ("success", "{}", None)
    assert (canceled["status"], canceled["params"]) == ("revoked", "{}")
    row = await payment(platform, begun)
    assert (row["user"], row["status"]) == (None, "succeeded")
    assert [charge["payment"] for charge in (await books(sandbox))["charges"]] == [str(row["id"])]


async def test_a_workflow_is_not_canceled_while_its_charge_is_followed_to_the_end(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**settings(sandbox, OFTEN_REQUEST_TIMEOUT="1"))
    await sandbox.arm(service="stripe", drop="after", times=2)
    guest = await account(platform)
    order = ProcessPayment(user_id=guest, amount="1250.00", currency="INR", payment_method=CARD)
    workflow = await submit(platform, payment_flow(order, owner=guest))
    (charge,) = await platform.rows("SELECT id FROM task WHERE workflow = {}", workflow)
    await platform.until(charge["id"], "retry")

    erasure = await platform.until(await erase(platform, guest), "success", "failure", timeout_s=60)

    assert erasure["status"] == "success", erasure["error_message"]
    row = await payment(platform, charge["id"])
    assert (row["user"], row["status"]) == (None, "succeeded")
    written = await books(sandbox)
    assert (len(written["charges"]), written["refunds"]) == (1, [])
    (refund,) = await platform.rows("SELECT state FROM workflow_step WHERE name = 'refund'")
    assert refund["state"] == "skipped"


@pytest.mark.parametrize("is_owner", [True, False])
@pytest.mark.parametrize(("charged", "owed"), [("success", "receipt"), ("failure", "refund")])
async def test_what_a_payment_owes_is_not_canceled_by_an_erasure(
    platform: Platform, charged: str, owed: str, is_owner: bool
) -> None:
    crew, guest = Crew(platform.database), await account(platform)
    await crew.begin()
    order = ProcessPayment(user_id=guest, amount="1250.00", currency="INR", payment_method=CARD)
    workflow = await submit(platform, payment_flow(order, owner=guest if is_owner else None))
    await end_all(crew, charged)
    await crew.advance()
    # Make the request a day old, so that one attempt erases the account together with its tasks.
    await platform.rows("UPDATE account SET erasure_task = uuidv7(interval '-1 day')")
    known = directory.read(INSTALLED, catalogue.load(INSTALLED))

    with pytest.raises(NotBefore, match="have not ended"):
        await erased(platform, guest, known)

    charge, waiting = await platform.rows("SELECT step, status, result FROM task ORDER BY id")
    assert (waiting["step"], waiting["status"]) == (owed, "pending")
    # The result of a successful charge is not erased yet, because the receipt that is still to be
    # sent reads it.
    assert (charge["result"] is None) == (charged == "failure")
    await play(crew)
    expected = {"receipt": ["success", "skipped"], "refund": ["skipped", "success"]}[owed]
    found = await states(crew, workflow)
    assert [found["receipt"], found["refund"]] == expected
    await erased(platform, guest, known)
    assert not await platform.rows("SELECT 1 FROM account")


async def test_an_account_is_erased_only_where_that_was_requested(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    guest = await account(platform)
    (task_id,) = await platform.submit(ERASE, EraseAccount(account_id=guest))

    row = await platform.until(task_id, "success", "failure")

    assert (row["status"], row["error_kind"]) == ("failure", "permanent")
    assert f"send DELETE /api/v1/accounts/{guest} first" in row["error_message"]
    assert len(await platform.rows("SELECT 1 FROM account WHERE is_active")) == 1
