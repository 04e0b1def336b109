"""Small workflows, and plays of a crew from their submission to their end."""

from typing import Any
from uuid import UUID

from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chord
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import Workflow
from tests.integration.workflows.crew import WAITING, Crew
from tests.platform import Platform
from tests.sample_tasks import ADD, COUNT, INSTANT, Nothing, Number, Numbers

MAX_ROUNDS = 100


def submitter(platform: Platform) -> WorkflowSubmitter:
    return WorkflowSubmitter(platform.database, platform.submitter, platform.vault)


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
    """Claim every task that waits. Returns those that are held."""
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    return await crew.tasks("holder IS NOT NULL")


async def end_all(crew: Crew, outcome: str = "success") -> None:
    """Every task that waits or is held ends like this."""
    held = await hold_all(crew)
    await crew.end(held, [outcome] * len(held))


async def play(crew: Crew, **outcomes: str) -> None:
    """Until nothing is open: tasks of a step end as `outcomes` says, others succeed."""
    for _ in range(MAX_ROUNDS):
        held = await hold_all(crew)
        await crew.end(held, [outcomes.get(task["step"], "success") for task in held])
        await crew.advance()
        await crew.check()
        if not await crew.run("SELECT 1 FROM workflow WHERE completed_at IS NULL"):
            return
    raise AssertionError("a workflow does not end")


async def states(crew: Crew, workflow: UUID) -> dict[str, str]:
    """The verdicts of its steps."""
    return {step.name: str(step.state) for step in await crew.steps(workflow)}
