"""Tests of the hotel application's workflows without servers: the order of their steps, and when a
payment is refunded.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.worker.hotel.charging import Payment
from services.worker.hotel.gateways.stripe import StripeGateway
from services.worker.hotel.tasks.hotel_tracking import summarize_scan
from services.worker.hotel.tasks.payments import refund
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.hotel import billing
from shared.hotel.contracts.email import (
    SEND_DIGEST,
    SEND_RECEIPT,
    DigestSent,
    ReceiptSent,
    SendDigest,
    SendReceipt,
)
from shared.hotel.contracts.hotels import SCAN_DESTINATION, DestinationScanned, ScanDestination
from shared.hotel.contracts.payments import PROCESS, PaymentProcessed, ProcessPayment
from shared.hotel.workflows.digest import digest
from shared.hotel.workflows.payment import payment
from shared.hotel.workflows.scan import scan
from shared.testing import Task
from shared.workflow_testing import InlineWorkflow, run_workflow_inline

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
ORDER = ProcessPayment(user_id=7, amount="1250.00", currency="INR", payment_method="pm_card_visa")
PAID = Payment(
    id=uuid4(),
    user=7,
    amount_minor=125_000,
    currency="INR",
    status="succeeded",
    intent="pi_1",
    key_number=1,
    key_used_at=NOW,
    key_is_old=False,
    error_code=None,
    error_message=None,
    refund=None,
    created_at=NOW,
    updated_at=NOW,
)


class Books:
    """Simulates a database with the row of one payment, and the payment service."""

    def __init__(self, row: Payment) -> None:
        self.row = row
        self.refunds: list[str] = []

    async def run(self, sql: str, *values: Any) -> list[dict[str, Any]]:
        if sql == billing.NOTE_REFUND:
            self.row = replace(self.row, status="refunded", refund=values[0])
        return [asdict(self.row)]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield

    async def refund(self, intent: str, key: str) -> str:
        self.refunds.append(key)
        return "re_1"


def charging(*, declines: bool) -> TaskFunction[ProcessPayment, PaymentProcessed]:
    @task(PROCESS)
    def charge(context: TaskContext, params: ProcessPayment) -> PaymentProcessed:
        if declines:
            raise PermanentError("the card was declined")
        return PaymentProcessed(
            success=True,
            user_id=params.user_id,
            payment_id=PAID.id,
            transaction_id="pi_1",
            amount=params.amount,
            currency=params.currency,
            status="succeeded",
            client_secret=None,
            processed_at=NOW,
        )

    return charge


def mailing(*, refuses: bool) -> TaskFunction[SendReceipt, ReceiptSent]:
    @task(SEND_RECEIPT)
    def receipt(context: TaskContext, params: SendReceipt) -> ReceiptSent:
        if refuses:
            raise PermanentError("550 no such mailbox")
        return ReceiptSent(
            success=True,
            user_id=params.user_id,
            payment_id=params.payment_id,
            template="receipt",
            message="Receipt sent",
            email="asha@often-hotels.example",
            sent_at=NOW,
        )

    return receipt


async def pay(books: Books, *, declines: bool = False, refuses: bool = False) -> InlineWorkflow:
    database: Any = books
    bodies: list[Task[Any, Any]] = [charging(declines=declines), mailing(refuses=refuses), refund]
    return await run_workflow_inline(
        payment(ORDER), bodies, gateways={StripeGateway: books}, database=database
    )


async def test_a_payment_is_charged_and_confirmed_and_nothing_goes_back() -> None:
    books = Books(PAID)
    run = await pay(books)
    assert run.status == "success"
    assert run.states == {"charge": "success", "receipt": "success", "refund": "skipped"}
    assert run.result("receipt")["payment_id"] == str(PAID.id)
    assert books.refunds == []


async def test_a_declined_charge_leaves_nothing_to_refund() -> None:
    books = Books(replace(PAID, status="declined", error_code="card_declined"))
    run = await pay(books, declines=True)
    assert run.status == "failure"
    assert run.states == {"charge": "failure", "receipt": "skipped", "refund": "success"}
    assert (run.result("refund")["refunded"], books.refunds) == (False, [])
    assert run.result("refund")["message"] == "Not refunded: no money was taken: the payment is declined"


async def test_money_goes_back_under_the_key_of_its_payment_when_the_receipt_fails() -> None:
    books = Books(PAID)
    run = await pay(books, refuses=True)
    assert run.states == {"charge": "success", "receipt": "failure", "refund": "success"}
    assert (run.result("refund")["refunded"], run.result("refund")["refund_id"]) == (True, "re_1")
    assert (books.row.status, books.refunds) == ("refunded", [f"refund-{PAID.id}"])

    # The refund runs a second time. It finds the row that the first run has written, and refunds
    # nothing.
    again = await pay(books, refuses=True)
    assert again.result("refund")["refund_id"] == "re_1"
    assert len(books.refunds) == 1


@task(SCAN_DESTINATION)
def scan_destination(context: TaskContext, params: ScanDestination) -> DestinationScanned:
    if params.destination_id == 13:
        raise PermanentError(
            "destination Goa cannot be scanned: it is inactive, or its prices are not tracked"
        )
    return DestinationScanned(
        success=True,
        task_type="single_destination_tracking",
        destination_id=params.destination_id,
        destination_name="Kochi",
        tracking_days=2,
        hotels_discovered=10,
        price_records_created=params.destination_id,
        price_drops=1,
        alerts_raised=0,
        unreadable=0,
        completed_at=NOW,
    )


async def test_a_scan_adds_up_what_succeeded_and_names_what_failed() -> None:
    run = await run_workflow_inline(scan([1, 13, 2]), [scan_destination, summarize_scan])
    assert run.status == "success"
    summary = run.result("summary")
    assert (summary["destinations_found"], summary["destinations_processed"]) == (3, 2)
    assert (summary["hotels_discovered"], summary["price_records_created"]) == (20, 3)
    failed = {
        "destination_id": 13,
        "error": "destination Goa cannot be scanned: it is inactive, or its prices are not tracked",
    }
    assert (summary["success"], summary["errors"]) == (False, [failed])


async def test_a_scan_without_any_success_has_no_summary() -> None:
    run = await run_workflow_inline(scan([13, 13]), [scan_destination, summarize_scan])
    assert (run.status, run.states["summary"]) == ("failure", "skipped")


async def test_a_scan_of_nothing_is_summed_up_as_nothing() -> None:
    run = await run_workflow_inline(scan([]), [scan_destination, summarize_scan])
    assert (run.status, run.result("summary")["destinations_found"]) == ("success", 0)


@task(SEND_DIGEST)
def send_digest(context: TaskContext, params: SendDigest) -> DigestSent:
    if params.user_id < 0:
        raise PermanentError("550 no such mailbox")
    return DigestSent(
        success=True,
        user_id=params.user_id,
        template="digest",
        message="Digest sent",
        hotels=1,
        email="asha@often-hotels.example",
        sent_at=NOW + timedelta(seconds=1),
    )


@pytest.mark.parametrize(
    ("readers", "status"),
    [
        ([*range(1, 10), -1], "success"),
        ([*range(1, 9), -1, -2], "failure"),
        ([1], "success"),
        ([-1], "failure"),
    ],
)
async def test_a_digest_is_a_success_when_nine_of_ten_mails_went_out(readers: list[int], status: str) -> None:
    run = await run_workflow_inline(digest(readers), [send_digest])
    assert run.status == status


def test_a_digest_to_many_is_several_groups() -> None:
    flow = digest(range(25_000))
    assert [len(node.members) for node in flow.nodes] == [10_000, 10_000, 5_000]
    assert [node.enough for node in flow.nodes] == [9_000, 9_000, 4_500]
