"""Tests the three examples on the page about Celery canvas: ours run as written, and are shorter
than those of the old system.
"""

import ast
import re
from typing import Any
from uuid import UUID

import pytest

from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.workflow_testing import InlineWorkflow, run_workflow_inline
from shared.workflows.workflow import Workflow
from tests.pages import blocks
from tests.platform import ROOT

PAGE = ROOT / "docs/migrating_from_celery.md"
SHOWN = re.compile(r"### A (\w+)\n\nThen:\n\n```text\n(.*?)```\n\nNow:\n\n```python\n(.*?)```", re.DOTALL)
EXAMPLES = {name: (then, now) for name, then, now in SHOWN.findall(PAGE.read_text())}
#: What the body of each step returns, by the step's name.
RESULTS: dict[str, Any] = {
    "validate": lambda page, params: page["PaymentValidated"](quote=f"{params.amount} INR"),
    "process": lambda page, params: page["PaymentProcessed"](transaction_id=f"paid {params.quote}"),
    "confirm": lambda page, params: page["Sent"](),
    "send_email": lambda page, params: page["Sent"](),
    "process_hotel": lambda page, params: page["HotelProcessed"](lowest_price=params.hotel_id * 100),
    "send_summary": lambda page, params: page["Sent"](),
}


class Submitter:
    """A substitute for a submitter, which records the workflow that an example submits."""

    def __init__(self) -> None:
        self.flow: Workflow | None = None

    async def submit(self, flow: Workflow) -> UUID:
        self.flow = flow
        return UUID(int=1)


@pytest.fixture
def page() -> dict[str, Any]:
    """Names that the page's examples use: the contracts from the page, some ids, and a
    submitter.
    """
    names: dict[str, Any] = {"user_ids": [1, 2, 3], "hotel_ids": [5, 6, 7], "submitter": Submitter()}
    (contracts,) = (block.code for block in blocks(PAGE) if "canvas.validate" in block.code)
    exec("from shared.contracts.contract import Contract, Params, Result\n" + contracts, names)
    return names


def body_of(page: dict[str, Any], contract: Any, seen: list[Any]) -> TaskFunction[Any, Any]:
    @task(contract)
    def body(context: TaskContext, params: Any) -> Any:
        seen.append(params)
        return RESULTS[contract.name.partition(".")[2]](page, params)

    return body


async def run(page: dict[str, Any], name: str) -> tuple[InlineWorkflow, list[Any]]:
    """Execute an example, and run the workflow that it submits.

    Returns the run, and the parameters that the tasks got.
    """
    code = compile(EXAMPLES[name][1], f"A {name}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await eval(code, page)
    flow = page["submitter"].flow
    seen: list[Any] = []
    contracts = {node.contract.name: node.contract for node in flow.nodes}
    bodies = [body_of(page, contract, seen) for contract in contracts.values()]
    return await run_workflow_inline(flow, bodies), seen


async def test_the_chain_passes_results_on(page: dict[str, Any]) -> None:
    ran, seen = await run(page, "chain")
    assert ran.status == "success"
    assert [type(params).__name__ for params in seen] == ["ValidatePayment", "ProcessPayment", "Confirm"]
    assert seen[-1].transaction_id == "paid 1250.00 INR"


async def test_the_group_runs_a_task_for_each(page: dict[str, Any]) -> None:
    ran, seen = await run(page, "group")
    assert ran.status == "success"
    assert [params.user_id for params in seen] == [1, 2, 3]


async def test_the_chord_gets_all_results_in_order(page: dict[str, Any]) -> None:
    ran, seen = await run(page, "chord")
    assert ran.status == "success"
    assert [hotel.lowest_price for hotel in seen[-1].hotels] == [500, 600, 700]


@pytest.mark.parametrize("name", ["chain", "group", "chord"])
def test_each_has_fewer_lines_than_in_the_old_system(name: str) -> None:
    then, now = (len([line for line in code.splitlines() if line.strip()]) for code in EXAMPLES[name])
    assert now < then
