"""Tests of running a workflow without servers, as the tests of an application do."""

from typing import Any

import pytest

from services.worker.registry import task
from shared.contracts.context import TaskContext
from shared.errors import PermanentError
from shared.testing import Task
from shared.workflow_testing import run_workflow_inline
from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chord
from shared.workflows.workflow import Workflow
from tests.unit.shared.workflows.contracts import (
    CHARGE,
    RECEIPT,
    REFUND,
    SCAN,
    SUMMARIZE,
    VALIDATE,
    Charge,
    Charged,
    Done,
    Quote,
    Receipt,
    Refund,
    Scan,
    Scanned,
    Summarize,
    Validate,
)

SEEN: list[Any] = []


@task(VALIDATE)
def validate(context: TaskContext, params: Validate) -> Quote:
    return Quote(quote=12, token="secret")


@task(CHARGE)
async def charge(context: TaskContext, params: Charge) -> Charged:
    SEEN.append((params.quote, params.token))
    if params.user_id == 13:
        raise PermanentError("declined")
    return Charged(payment_id="p1")


@task(RECEIPT)
def receipt(context: TaskContext, params: Receipt) -> Done:
    SEEN.append(params.payment_id)
    return Done()


@task(REFUND)
def refund(context: TaskContext, params: Refund) -> Done:
    SEEN.append(params.charge.error_message)
    return Done()


@task(SCAN)
def scan(context: TaskContext, params: Scan) -> Scanned:
    return Scanned(price=params.hotel_id * 100)


@task(SUMMARIZE)
def summarize(context: TaskContext, params: Summarize) -> Done:
    SEEN.append([hotel.price for hotel in params.hotels])
    return Done()


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    SEEN.clear()


def payment(user_id: int) -> Workflow:
    flow = Workflow("payment")
    check = flow.step(VALIDATE, Validate(user_id=user_id))
    paid = flow.step(CHARGE, Charge(user_id=user_id, quote=check.result.quote, token=check.result.token))
    flow.step(RECEIPT, Receipt(payment_id=paid.result.payment_id))
    flow.on_failure(REFUND, Refund(charge=paid.outcome))
    return flow


TASKS: list[Task[Any, Any]] = [validate, charge, receipt, refund]


async def test_results_reach_later_steps() -> None:
    run = await run_workflow_inline(payment(7), TASKS)
    assert (run.status, run.states["refund"]) == ("success", "skipped")
    assert SEEN == [(12.0, "secret"), "p1"]
    assert run.result("charge") == {"payment_id": "p1"}
    with pytest.raises(LookupError, match="'refund' is skipped"):
        run.result("refund")


async def test_a_failure_runs_its_handler() -> None:
    run = await run_workflow_inline(payment(13), TASKS)
    assert (run.status, run.states["send_receipt"]) == ("failure", "skipped")
    assert SEEN == [(12.0, "secret"), "declined"]


async def test_the_first_results_of_a_group_are_enough() -> None:
    flow = Workflow("scan")
    scans = flow.group(SCAN, [Scan(hotel_id=number) for number in (1, 2, 3)], first=2)
    chord(scans, flow.step(SUMMARIZE, Summarize(hotels=PREVIOUS)))
    run = await run_workflow_inline(flow, [scan, summarize])
    assert (run.status, SEEN) == ("success", [[100, 200]])
    assert [end.status for end in run.ends["scan"]] == ["success", "success", "revoked"]


async def test_a_function_that_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"are missing in `tasks`: pay.refund; pass these functions too"):
        await run_workflow_inline(payment(7), TASKS[:3])
