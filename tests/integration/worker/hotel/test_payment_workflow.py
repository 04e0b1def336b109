"""Tests of payments as workflows, with real workers, a simulated payment service and a mail
server.
"""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.smtp import SMTP, AuthResult

from local import mail as catcher
from services.worker.hotel.gateways.provider import Pace, ProviderRefused
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.tasks.email import send_receipt
from services.worker.hotel.tasks.payments import refund as refund_payment
from shared.errors import ExpectedError
from shared.hotel import billing
from shared.hotel.contracts.email import SendReceipt
from shared.hotel.contracts.payments import (
    SETTLE,
    PaymentRefunded,
    ProcessPayment,
    RefundPayment,
    SettlePayment,
)
from shared.hotel.workflows.payment import payment as payment_flow
from shared.ledger.database import in_fresh_context
from shared.ledger.transitions.operate import CANCEL
from shared.testing import InlineRun, run_inline
from tests.eventually import eventually
from tests.integration.worker.hotel.paying import (
    CARD,
    CONFIRMED_CARD,
    CUSTOMER,
    DECLINED_CARD,
    at_once,
    books,
    charged_once,
    gateway_to_stripe,
    payment,
    settings,
)
from tests.integration.workflows.crew import Crew
from tests.integration.workflows.plays import end_all, finished, results, submit
from tests.platform import Platform
from tests.sandbox import Sandbox

ADDRESS = "asha@often-hotels.example"
#: A mail address that the mail catcher permanently refuses.
REFUSED_ADDRESS = "asha+550@often-hotels.example"


@pytest.fixture
async def environment(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Settings of a worker that uses the sandbox and the mail catcher."""
    folder = tmp_path / "mail"
    folder.mkdir()
    async with await catcher.serve(0, folder) as server:
        port = str(server.sockets[0].getsockname()[1])
        yield settings(sandbox, SMTP_HOST=catcher.HOST, SMTP_PORT=port)


async def pay(platform: Platform, card: str = CARD, *, address: str = ADDRESS) -> UUID:
    """Start a workflow that makes a payment. Returns the workflow's id."""
    (row,) = await platform.rows(
        "INSERT INTO account (email, password_hash, verified_at) VALUES ({}, '-', now()) RETURNING id",
        address,
    )
    await platform.rows(billing.BIND_CUSTOMER, CUSTOMER, row["id"])
    order = ProcessPayment(
        user_id=row["id"], amount="1250.00", currency="INR", payment_method=card, customer=CUSTOMER
    )
    return await submit(platform, payment_flow(order, owner=row["id"]))


async def states(platform: Platform, workflow: UUID) -> list[str]:
    """States of the workflow's steps in their order: charge, receipt, refund.

    A workflow that only sends a late receipt has no charge.
    """
    rows = await platform.rows(
        "SELECT state FROM workflow_step WHERE workflow = {} ORDER BY position", workflow
    )
    return [row["state"] for row in rows]


async def charge_of(platform: Platform, workflow: UUID) -> UUID:
    (row,) = await platform.rows(
        "SELECT task FROM workflow_step WHERE workflow = {} AND name = 'charge'", workflow
    )
    return UUID(int=row["task"].int)


async def lock_waits(platform: Platform) -> int:
    """Number of sessions that wait for a lock.

    The query runs outside the caller's transaction, because inside a transaction Postgres keeps
    showing the same state of the sessions.
    """
    rows = platform.rows(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return len(await in_fresh_context(rows))


async def test_a_payment_is_charged_once_and_confirmed_by_mail(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    await platform.start_worker(**environment)
    workflow = await pay(platform)

    assert (await finished(platform, workflow))["status"] == "success"

    assert await states(platform, workflow) == ["success", "success", "skipped"]
    await charged_once(platform, sandbox, await charge_of(platform, workflow))
    assert (await books(sandbox))["refunds"] == []
    (file,) = (tmp_path / "mail").glob("*.eml")
    sent = email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
    assert sent["Subject"] == "Receipt for your payment of 1,250.00 INR"
    row = await payment(platform, await charge_of(platform, workflow))
    assert row["intent"] in file.read_text()


async def test_a_receipt_that_fails_for_good_gives_the_money_back_once(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await platform.start_scheduler()
    await platform.start_worker(**environment)
    # The payment service makes the refund but its answer is lost, so the next attempt requests the
    # refund again.
    await sandbox.arm(service="stripe", path="refunds", drop="after")
    workflow = await pay(platform, address=REFUSED_ADDRESS)

    async def refunding() -> UUID | None:
        rows = await platform.rows("SELECT id FROM task WHERE step = 'refund' AND status = 'retry'")
        return UUID(int=rows[0]["id"].int) if rows else None

    await at_once(platform, await eventually(refunding))
    assert (await finished(platform, workflow))["status"] == "failure"

    assert await states(platform, workflow) == ["success", "failure", "success"]
    charge = await charge_of(platform, workflow)
    row = await payment(platform, charge)
    written = await books(sandbox)
    ((refund,),) = [written["refunds"]]
    assert (row["status"], row["refund"], refund["amount"]) == ("refunded", refund["id"], 125_000)
    assert (written["requests"]["refund"], len(written["charges"])) == (2, 1)
    assert (await results(platform, workflow))["refund"]["refunded"] is True

    # A second run of the refund must find out that the refund was made: first from our own row, and
    # then from the payment service's records.
    stripe = gateway_to_stripe(environment, Pace(""))
    for status in ("refunded", "succeeded"):
        await platform.rows("UPDATE payment SET status = {}, refund = NULL", status)
        again = await run_inline(
            refund_payment,
            RefundPayment(payment_id=row["id"]),
            gateways={StripeGateway: stripe},
            database=platform.database,
        )
        assert again.result is not None
        assert again.result.refund_id == refund["id"]
    await stripe.close()
    assert len((await books(sandbox))["refunds"]) == 1


async def test_a_refund_that_was_refused_is_made_once_the_cause_is_gone(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await platform.start_worker(**environment)
    await sandbox.put("/sandbox/stripe", {"refuse_refunds": True})
    workflow = await pay(platform, address=REFUSED_ADDRESS)
    await finished(platform, workflow)
    assert await states(platform, workflow) == ["success", "failure", "failure"]
    charge = await charge_of(platform, workflow)
    row = await payment(platform, charge)
    assert row["status"] == "succeeded"
    stripe = gateway_to_stripe(environment, Pace(""))

    async def refund() -> InlineRun[PaymentRefunded]:
        params = RefundPayment(payment_id=row["id"])
        return await run_inline(
            refund_payment, params, gateways={StripeGateway: stripe}, database=platform.database
        )

    with pytest.raises(ProviderRefused, match="balance_insufficient"):
        await refund()
    await sandbox.put("/sandbox/stripe", {"refuse_refunds": False})
    run = await refund()
    await stripe.close()

    ((made,),) = [(await books(sandbox))["refunds"]]
    assert run.result is not None
    assert (run.result.refunded, run.result.refund_id) == (True, made["id"])
    assert (await payment(platform, charge))["status"] == "refunded"


async def test_a_wrong_login_to_the_mail_server_delays_the_receipt_and_refunds_nothing(
    platform: Platform, sandbox: Sandbox, tmp_path: Path
) -> None:
    accepts_login = False

    def check_login(*_: Any) -> AuthResult:
        return AuthResult(success=accepts_login, handled=False)

    def server() -> SMTP:
        return SMTP(catcher.Catcher(tmp_path), authenticator=check_login, auth_require_tls=False, loop=loop)

    async def receipt() -> UUID | None:
        rows = await platform.rows("SELECT id FROM task WHERE step = 'receipt' AND status = 'retry'")
        return UUID(int=rows[0]["id"].int) if rows else None

    loop = asyncio.get_running_loop()
    async with await loop.create_server(server, catcher.HOST, 0) as listening:
        port = str(listening.sockets[0].getsockname()[1])
        login = {"SMTP_USER": "hotels", "SMTP_PASSWORD": "secret"}
        await platform.start_scheduler()
        await platform.start_worker(**settings(sandbox, SMTP_HOST=catcher.HOST, SMTP_PORT=port, **login))
        workflow = await pay(platform)
        waiting = await eventually(receipt)
        (attempt,) = await platform.attempts(waiting)
        assert "the mail server accepts no mail from us" in attempt["error_message"]
        assert (attempt["error_kind"], "secret" in attempt["error_message"]) == ("expected", False)

        accepts_login = True
        await at_once(platform, waiting)
        assert (await finished(platform, workflow))["status"] == "success"

    assert await states(platform, workflow) == ["success", "success", "skipped"]
    assert len([*tmp_path.glob("*.eml")]) == 1
    assert (await books(sandbox))["refunds"] == []


async def test_a_declined_charge_is_not_refunded(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await platform.start_worker(**environment)
    workflow = await pay(platform, DECLINED_CARD)

    assert (await finished(platform, workflow))["status"] == "failure"

    assert await states(platform, workflow) == ["failure", "skipped", "success"]
    refund = (await results(platform, workflow))["refund"]
    assert (refund["refunded"], refund["refund_id"]) == (False, None)
    assert (await books(sandbox))["requests"] == {"create": 1}


async def test_a_charge_that_was_made_and_canceled_before_its_answer_is_refunded(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await platform.start_worker(**environment)
    await sandbox.arm(service="stripe", drop="after")
    workflow = await pay(platform)
    charge = await charge_of(platform, workflow)
    await platform.until(charge, "retry")
    assert (await payment(platform, charge))["status"] == "unknown"

    await platform.database.run(CANCEL, id=charge)
    await platform.start_scheduler()
    assert (await finished(platform, workflow))["status"] == "failure"

    row = await payment(platform, charge)
    written = await books(sandbox)
    assert (row["status"], [each["payment_intent"] for each in written["refunds"]]) == (
        "refunded",
        [row["intent"]],
    )
    assert len(written["charges"]) == 1


async def test_a_charge_that_waits_for_the_customer_is_called_off_when_its_workflow_fails(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    await platform.start_worker(**environment)
    # The mail server would refuse a receipt. But none is sent before the customer has confirmed the
    # charge.
    workflow = await pay(platform, CONFIRMED_CARD, address=REFUSED_ADDRESS)
    assert (await finished(platform, workflow))["status"] == "success"
    assert "requires_action" in (await results(platform, workflow))["receipt"]["message"]
    row = await payment(platform, await charge_of(platform, workflow))

    # The customer confirms the charge. The next check of the payment then starts a separate
    # workflow that sends the receipt.
    await sandbox.put(f"/sandbox/stripe/intents/{row['intent']}", {"status": "succeeded"})
    (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=row["id"], looks=1_000))
    await platform.until(look, "success")
    (late,) = await platform.rows("SELECT id FROM workflow WHERE parent = {}", look)
    assert (await finished(platform, late["id"]))["status"] == "failure"
    assert await states(platform, late["id"]) == ["failure", "success"]
    assert len((await books(sandbox))["refunds"]) == 1

    # Checking the payment again must not start a second workflow.
    (again,) = await platform.submit(SETTLE, SettlePayment(payment_id=row["id"]))
    await platform.until(again, "success")
    assert not await platform.rows("SELECT 1 FROM workflow WHERE parent = {}", again)


async def test_a_payment_that_is_found_paid_while_its_charge_runs_has_one_receipt(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str], tmp_path: Path
) -> None:
    await platform.start_worker(**environment)
    await sandbox.arm(service="stripe", drop="after")
    workflow = await pay(platform)
    charge = await charge_of(platform, workflow)
    await platform.until(charge, "retry")
    row = await payment(platform, charge)
    (look,) = await platform.submit(SETTLE, SettlePayment(payment_id=row["id"]))
    await platform.until(look, "success")
    assert (await payment(platform, charge))["status"] == "succeeded"

    await platform.start_scheduler()
    assert (await finished(platform, workflow))["status"] == "success"

    assert not await platform.rows("SELECT 1 FROM workflow WHERE parent = {}", look)
    assert len([*(tmp_path / "mail").glob("*.eml")]) == 1


async def test_no_receipt_goes_out_for_a_payment_that_is_being_refunded(platform: Platform) -> None:
    crew = Crew(platform.database)
    await crew.begin()
    workflow = await pay(platform)
    charge = await charge_of(platform, workflow)
    await end_all(crew, "failure")
    await crew.advance()
    (refunding,) = await crew.tasks("completed_at IS NULL")
    assert refunding["step"] == "refund"
    (row,) = await platform.rows(
        'INSERT INTO payment ("user", task, amount_minor, currency, status)'
        " SELECT id, {}, 125000, 'INR', 'processing' FROM account RETURNING id, \"user\"",
        charge,
    )
    receipt = SendReceipt(user_id=row["user"], payment_id=row["id"])
    # The payment becomes succeeded while the receipt reads its row, and before the refund has seen
    # it.
    async with platform.database.transaction():
        await platform.rows("UPDATE payment SET status = 'succeeded'")
        sending = asyncio.create_task(
            in_fresh_context(run_inline(send_receipt, receipt, gateways={}, database=platform.database))
        )
        await eventually(partial(lock_waits, platform))
    run = await sending
    assert run.result is not None
    assert (run.result.sent_at, run.result.message) == (None, "Not sent: the payment is being refunded")


async def test_a_refund_waits_for_an_attempt_that_is_about_to_charge(
    platform: Platform, environment: dict[str, str]
) -> None:
    crew = Crew(platform.database)
    await crew.begin()
    workflow = await pay(platform)
    await end_all(crew, "failure")
    await crew.advance()
    (refunding,) = await crew.tasks("completed_at IS NULL")
    (row,) = await platform.rows(
        'INSERT INTO payment ("user", task, amount_minor, currency, status)'
        " SELECT id, {}, 125000, 'INR', 'created' FROM account RETURNING id",
        await charge_of(platform, workflow),
    )
    params, stripe = RefundPayment(payment_id=row["id"]), gateway_to_stripe(environment, Pace(""))
    inline = run_inline(refund_payment, params, gateways={StripeGateway: stripe}, database=platform.database)
    reading = platform.rows(billing.PAYMENT_OF_WORKFLOW_LOCKED, refunding["id"])

    async def both_wait() -> bool:
        return await lock_waits(platform) == 2

    async with platform.database.transaction():
        await platform.rows("UPDATE payment SET status = 'unknown', key_used_at = now()")
        running = asyncio.create_task(in_fresh_context(inline))
        found = asyncio.create_task(in_fresh_context(reading))
        await eventually(both_wait)

    with pytest.raises(ExpectedError, match="it may still be made"):
        await running
    assert [each["status"] for each in await found] == ["unknown"]
    await stripe.close()


async def test_a_card_reaches_neither_the_rows_nor_the_log_of_a_workflow(
    platform: Platform, sandbox: Sandbox, environment: dict[str, str]
) -> None:
    worker = await platform.start_worker(**environment)
    workflow = await pay(platform, address=REFUSED_ADDRESS)
    await finished(platform, workflow)
    stored: list[dict[str, Any]] = await platform.rows(
        "SELECT to_jsonb(t)::text AS row FROM task AS t UNION ALL "
        "SELECT to_jsonb(s)::text FROM workflow_step AS s"
    )
    assert CARD not in platform.log_of(worker) + "".join(row["row"] for row in stored)
