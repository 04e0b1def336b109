"""Sample tasks whose bodies start workflows."""

import asyncio
from datetime import timedelta
from typing import Any

from services.worker import registry
from services.worker.registry import TaskFunction, task
from shared.contracts.context import TaskContext
from shared.contracts.contract import Contract, Params, Retries
from shared.errors import ExpectedError, WorkflowExists
from shared.workflows.workflow import Workflow
from tests.sample_tasks import INSTANT, Done, Nothing

SOON = Retries(max_attempts=3, delay=timedelta(milliseconds=50), factor=1.0)


class Begins(Params):
    """Parameters: how many workflows the body starts, and what it does afterwards."""

    flows: int = 1
    unique: str | None = None
    #: Number of attempts that wait for `wait_s` seconds and then fail, after they have started the
    #: workflows.
    troubled: int = 0
    wait_s: float = 0.0


BEGIN = Contract(name="starting.begin", queue="default", params=Begins, result=Done, retries=SOON)
BEGIN_PLAINLY = Contract(
    name="starting.begin_plainly", queue="default", params=Begins, result=Done, retries=SOON
)
BEGIN_INSIDE = Contract(
    name="starting.begin_inside", queue="default", params=Begins, result=Done, retries=SOON
)


def begun(unique: str | None = None) -> Workflow:
    flow = Workflow("begun", unique=unique)
    first = flow.step(INSTANT, Nothing(), name="first")
    flow.step(INSTANT, Nothing(), name="second", after=[first])
    return flow


async def have_trouble(context: TaskContext, params: Begins) -> None:
    if context.attempt <= params.troubled:
        await asyncio.sleep(params.wait_s)
        raise ExpectedError("the attempt fails after it has begun workflows")


@task(BEGIN)
async def begin(context: TaskContext, params: Begins) -> Done:
    try:
        for _ in range(params.flows):
            await context.start(begun(params.unique))
    except WorkflowExists as error:
        context.log.warning("refused: %s", error)
    await have_trouble(context, params)
    return Done(attempt=context.attempt)


@task(BEGIN_PLAINLY)
def begin_plainly(context: TaskContext, params: Begins) -> Done:
    context.wait_for(context.start(begun(), key="the one"))
    context.wait_for(context.start(begun(), key="the one"))
    return Done(attempt=context.attempt)


@task(BEGIN_INSIDE)
async def begin_inside(context: TaskContext, params: Begins) -> Done:
    """A body that starts a workflow in the same transaction as its success."""
    done = Done(attempt=context.attempt)
    async with context.transaction() as transaction:
        await context.start(begun())
        await have_trouble(context, params)
        await context.complete_in(transaction, done)
    return done


TASKS: dict[str, TaskFunction[Any, Any]] = {}
registry.add(TASKS, [begin, begin_plainly, begin_inside])
