"""Tests of submitting, advancing, canceling and restarting workflows, on a real ledger and without
processes.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.workflow_repair import WorkflowRepair
from services.scheduler.workflows import Sweep
from shared.errors import KeyReused, WorkersTooOld, WorkflowExists
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.ledger.transitions import workflow as transitions
from shared.submission import OnceKey
from shared.workflows import advance as advancing
from shared.workflows.advancer import Advancer
from shared.workflows.shapes import chain
from shared.workflows.submission import Origin
from shared.workflows.workflow import Workflow
from tests.eventually import eventually
from tests.explain import explain
from tests.integration.workflows.crew import WAITING, Crew, Paused
from tests.integration.workflows.plays import end_all, single, status, submitter
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing


def chain_of(steps: int) -> Workflow:
    flow = Workflow("chain")
    chain(*(flow.step(INSTANT, Nothing()) for _ in range(steps)))
    return flow


async def held(crew: Crew) -> dict[str, Any]:
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    (task,) = await crew.tasks("holder IS NOT NULL")
    return task


async def by_record(crew: Crew) -> None:
    await crew.end([await held(crew)], ["success"])


async def by_complete_in(crew: Crew) -> None:
    await crew.complete(await held(crew))


async def by_cancel(crew: Crew) -> None:
    await crew.cancel((await crew.tasks(WAITING))[0])


async def by_expiry(crew: Crew) -> None:
    await crew.expire((await crew.tasks(WAITING))[0])


async def by_crash_loop(crew: Crew) -> None:
    await held(crew)
    await crew.die(crash_limit=1)


@pytest.mark.parametrize("ends", [by_record, by_complete_in, by_cancel, by_expiry, by_crash_loop])
async def test_a_task_that_ends_moves_its_workflow(
    platform: Platform, crew: Crew, ends: Callable[[Crew], Awaitable[None]]
) -> None:
    workflow = await submitter(platform).submit(single())
    await ends(crew)
    assert not await crew.tasks("completed_at IS NULL")
    assert (await crew.advance()).ended == [await status(platform, workflow)]


async def test_an_advance_reads_only_the_steps_that_may_move(platform: Platform) -> None:
    """An advance of a workflow must not read all of its steps, nor compare new tasks with steps of
    other workflows.
    """
    await submitter(platform).submit(chain_of(100))
    recorder = Database.for_recorder(platform.database_url, "test")
    await recorder.open(size=1)
    try:
        plans = [
            await recorder.run(explain(transitions.TAKE), id=[uuid7(datetime.now(UTC))]),
            await recorder.run(explain(transitions.APPLY), steps="[]", flows="[]"),
        ]
    finally:
        await recorder.close()
    for plan in plans:
        assert not any("Join Filter" in row["QUERY PLAN"] for row in plan), plan


async def test_a_step_that_ends_while_its_workflow_advances_is_not_forgotten(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("join")
    both = [flow.step(INSTANT, Nothing(), name=name) for name in ("left", "right")]
    flow.step(INSTANT, Nothing(), name="join", after=both)
    workflow = await submitter(platform).submit(flow)
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    left, right = await crew.tasks("holder IS NOT NULL")
    await crew.end([left], ["success"])
    paused: Any = Paused(platform.database)
    slow = asyncio.create_task(advancing.advance(paused, [workflow]))
    await paused.taken.wait()
    await crew.end([right], ["success"])
    await crew.advance()
    paused.go_on.set()
    await slow
    await crew.advance()
    assert len(await crew.tasks("step = 'join'")) == 1


async def test_a_workflow_that_another_process_advances_is_left(platform: Platform, crew: Crew) -> None:
    workflow = await submitter(platform).submit(single())
    await end_all(crew)
    async with platform.database.transaction():
        await platform.rows(transitions.LOCK, id=[workflow])
        assert (await crew.advance()).left == [workflow]
    assert (await crew.advance()).ended == ["success"]


async def test_a_large_group_is_canceled_in_shares_and_its_workers_are_told(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("large")
    flow.group(INSTANT, [Nothing()] * 2_500)
    workflow = await submitter(platform).submit(flow)
    first = (await crew.tasks(WAITING))[0]["id"]
    await crew.claim([first])
    await crew.cancel_workflow(workflow)
    advanced = [await crew.advance() for _ in range(4)]
    assert [each.held for each in advanced] == [[first], [], [], []]
    assert [each.more for each in advanced] == [[workflow]] * 3 + [[]], "shares follow each other at once"
    assert [each.open for each in advanced] == [{}, {}, {}, {workflow: 1}], "only the held one is waited for"
    assert len(await crew.tasks("status = 'revoked'")) == 2_499
    assert await status(platform, workflow) == "running"
    await end_all(crew, "revoked")
    await crew.advance()
    assert await status(platform, workflow) == "revoked"


async def test_a_workflow_whose_deadline_passed_ends_as_a_failure(platform: Platform, crew: Crew) -> None:
    workflow = await submitter(platform).submit(single(deadline=timedelta(hours=1)))
    await crew.pass_deadline(workflow)
    await crew.advance()
    await crew.advance()
    assert await status(platform, workflow) == "failure"


async def test_a_task_that_is_retried_lets_a_finished_workflow_go_on(platform: Platform, crew: Crew) -> None:
    flow = Workflow("chain")
    first = flow.step(INSTANT, Nothing(), name="first")
    flow.step(INSTANT, Nothing(), name="second", after=[first])
    workflow = await submitter(platform).submit(flow)
    await end_all(crew, "failure")
    await crew.advance()
    assert await status(platform, workflow) == "failure"
    await crew.retry((await crew.tasks("true"))[0])
    await crew.advance()
    for _ in range(2):
        await end_all(crew)
        await crew.advance()
    assert await status(platform, workflow) == "success"


async def test_a_workflow_of_empty_groups_has_ended_when_it_is_submitted(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("empty")
    flow.group(INSTANT, [], after=[flow.group(INSTANT, [])])
    assert await status(platform, await submitter(platform).submit(flow)) == "success"


async def test_one_key_is_one_workflow(platform: Platform, crew: Crew) -> None:
    once = OnceKey("owner:7", "k", b"body")
    answers = await asyncio.gather(*(submitter(platform).submit_once(single(), once) for _ in range(10)))
    assert len({workflow for workflow, _ in answers}) == sum(is_new for _, is_new in answers) == 1
    with pytest.raises(KeyReused):
        await submitter(platform).submit_once(single(), OnceKey("owner:7", "k", b"another"))
    assert len(await crew.tasks("true")) == 1


async def test_a_unique_workflow_exists_once_until_it_ends(platform: Platform, crew: Crew) -> None:
    workflow = await submitter(platform).submit(single(unique="destination:7"))
    # The refused submission must give its idempotency key free again, even if the caller's
    # transaction goes on.
    async with platform.database.transaction():
        with pytest.raises(WorkflowExists, match=str(workflow)):
            await submitter(platform).submit_once(
                single(unique="destination:7"), OnceKey("owner:7", "k", b"body")
            )
    assert not await platform.rows("SELECT 1 FROM submission_key"), "a refused submission keeps its key free"
    await submitter(platform).submit(single(unique="destination:8"))
    await end_all(crew)
    await crew.advance()
    assert await submitter(platform).submit(single(unique="destination:7")) != workflow


async def test_no_workflow_is_accepted_while_an_older_worker_runs(platform: Platform, crew: Crew) -> None:
    await platform.rows("UPDATE worker SET protocol = 0")
    with pytest.raises(WorkersTooOld, match="1 running workers"):
        await submitter(platform).submit(single())
    assert not await platform.rows("SELECT 1 FROM workflow")


async def test_a_repeated_submission_finds_its_workflow_also_while_an_older_worker_runs(
    platform: Platform, crew: Crew
) -> None:
    """A client repeats its request, because the API crashed between the commit and the answer."""
    once = OnceKey("owner:7", "k", b"body")
    first, _ = await submitter(platform).submit_once(single(), once)
    begun = uuid7(datetime.now(UTC))
    await submitter(platform).submit_as(single(), begun, Origin())
    await platform.rows("UPDATE worker SET protocol = 0")
    assert await submitter(platform).submit_once(single(), once) == (first, False)
    assert not await submitter(platform).submit_as(single(), begun, Origin())


async def test_an_end_without_an_event_is_found_and_noted_once(platform: Platform, crew: Crew) -> None:
    """A worker of an older release records the end of a task, but adds no event about it."""
    flow = Workflow("forgotten")
    flow.group(INSTANT, [Nothing()] * 3)
    workflow = await submitter(platform).submit(flow)
    tasks = await crew.tasks(WAITING)
    await crew.cancel(tasks[0])
    await platform.rows(
        "UPDATE task SET status = 'success', completed_at = now(), send_at = NULL, sent_at = NULL "
        "WHERE id = ANY({}::uuid[])",
        [task["id"] for task in tasks[1:]],
    )
    await WorkflowRepair(platform.database).run_once()
    assert len(await platform.rows("SELECT 1 FROM workflow_event")) == 1, "it moved a moment ago"
    for _ in range(2):
        await WorkflowRepair(platform.database, still_s=0.0).run_once()
    assert len(await platform.rows("SELECT 1 FROM workflow_event")) == 2
    assert (await crew.advance()).ended == ["failure"]
    (step,) = await crew.steps(workflow)
    assert (step.succeeded, step.revoked) == (2, 1)


async def test_the_sweep_drops_events_of_workflows_that_were_deleted(platform: Platform, crew: Crew) -> None:
    await submitter(platform).submit(single())
    await end_all(crew)
    await platform.rows("DELETE FROM workflow")
    sweep = Sweep(platform.database, Advancer(platform.database, platform.queues))
    assert not await sweep.run_once()
    assert not await platform.rows("SELECT 1 FROM workflow_event")


async def test_a_workflow_that_cannot_advance_keeps_no_other_one(platform: Platform, crew: Crew) -> None:
    broken, sound = [await submitter(platform).submit(single()) for _ in range(2)]
    await end_all(crew)
    await platform.rows("UPDATE workflow_step SET succeeded = 1 WHERE workflow = {}", broken)
    sweep = Sweep(platform.database, Advancer(platform.database, platform.queues))
    await sweep.run_once()
    assert await status(platform, sound) == "success"
    assert await status(platform, broken) == "running"
    await platform.rows("UPDATE workflow_step SET succeeded = 0 WHERE workflow = {}", broken)
    await sweep.run_once()
    assert await status(platform, broken) == "success"


async def test_new_tasks_are_pushed_and_marked(platform: Platform, crew: Crew) -> None:
    flow = Workflow("pushed")
    first = flow.step(INSTANT, Nothing(), name="first")
    flow.step(INSTANT, Nothing(), name="second", after=[first])
    flow.step(INSTANT, Nothing(), name="later", after=[first], delay=timedelta(hours=1))
    workflow = await submitter(platform).submit(flow)
    await end_all(crew)
    advancer = Advancer(platform.database, platform.queues)
    await advancer.advance([workflow])
    await advancer.mark()
    (second,) = await crew.tasks("step = 'second'")
    (later,) = await crew.tasks("step = 'later'")
    assert second["sent_at"] is not None
    assert later["send_at"] - later["created_at"] == timedelta(hours=1)

    async def in_lane() -> bool:
        fetched = await platform.queues.fetch(
            crew.worker, ["default"], wanted=8, served=0, idle=True, may_stop=False, wait_s=0.0
        )
        return second["id"] in fetched.ids

    assert await eventually(in_lane)
