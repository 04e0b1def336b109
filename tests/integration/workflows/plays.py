"""Small workflows for tests, and functions that run them from their submission to their end."""

from typing import Any
from uuid import UUID

import msgspec

from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chord
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import Workflow
from tests.eventually import eventually
from tests.integration.workflows.crew import WAITING, Crew
from tests.platform import Platform
from tests.sample_tasks import ADD, COUNT, INSTANT, Nothing, Number, Numbers

MAX_ROUNDS = 100


def submitter(platform: Platform) -> WorkflowSubmitter:
    return WorkflowSubmitter(platform.database, platform.submitter, platform.vault)


async def submit(platform: Platform, flow: Workflow) -> UUID:
    return await submitter(platform).submit(flow)


async def finished(platform: Platform, workflow: UUID) -> dict[str, Any]:
    """Wait until a workflow has ended. Returns its row."""

    async def ended() -> dict[str, Any] | None:
        (row,) = await platform.rows("SELECT * FROM workflow WHERE id = {}", workflow)
        return row if row["completed_at"] else None

    return await eventually(ended)


async def results(platform: Platform, workflow: UUID) -> dict[str, Any]:
    """Results of all steps with a single task, by the step's name. Groups are left out."""
    rows = await platform.rows(
        "SELECT step, result FROM task WHERE workflow = {} AND member IS NULL", workflow
    )
    return {row["step"]: row["result"] and msgspec.json.decode(row["result"]) for row in rows}


def single(**options: Any) -> Workflow:
    flow = Workflow("single", **options)
    flow.step(INSTANT, Nothing())
    return flow


def chord_of(size: int, **limits: Any) -> Workflow:
    flow = Workflow("chord")
    many = flow.group(COUNT, [Number(value=number) for number in range(size)], name="many", **limits)
    chord(many, flow.step(ADD, Numbers(values=PREVIOUS), name="body"))
    return flow


def steps_of(flow: Workflow, *names: str) -> list[Any]:
    return [flow.step(INSTANT, Nothing(), name=name) for name in names]


async def status(platform: Platform, workflow: UUID) -> str:
    (row,) = await platform.rows("SELECT status FROM workflow WHERE id = {}", workflow)
    return str(row["status"])


async def hold_all(crew: Crew) -> list[dict[str, Any]]:
    """Claim every task that waits. Returns all tasks that the worker then holds."""
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    return await crew.tasks("holder IS NOT NULL")


async def end_all(crew: Crew, outcome: str = "success") -> None:
    """Claim every waiting task, and end all held tasks with this outcome."""
    held = await hold_all(crew)
    await crew.end(held, [outcome] * len(held))


async def end(crew: Crew, **outcomes: str) -> list[str]:
    """Claim and end all tasks, and advance their workflows.

    Tasks of a step named in `outcomes` end with that outcome, and others succeed. Returns the steps
    of the ended tasks.
    """
    held = await hold_all(crew)
    await crew.end(held, [outcomes.get(task["step"], "success") for task in held])
    await crew.advance()
    return [task["step"] for task in held]


async def finish(crew: Crew, **outcomes: str) -> list[str]:
    """Call `end` until no task waits.

    Returns the names of the steps in the order in which they ran.
    """
    ran: list[str] = []
    while now := await end(crew, **outcomes):
        ran += now
    return ran


async def play(crew: Crew, **outcomes: str) -> None:
    """Call `end` until every workflow has ended, and check the ledger after each call."""
    for _ in range(MAX_ROUNDS):
        await end(crew, **outcomes)
        await crew.check()
        if not await crew.run("SELECT 1 FROM workflow WHERE completed_at IS NULL"):
            return
    raise AssertionError("a workflow does not end")


async def states(crew: Crew, workflow: UUID) -> dict[str, str]:
    """State of each step of a workflow, by the step's name."""
    return {step.name: str(step.state) for step in await crew.steps(workflow)}
