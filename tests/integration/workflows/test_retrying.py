"""Tests of workflow retries on a real ledger: each happens once, under a lock, and leaves nothing
of an earlier run.
"""

import asyncio
from typing import Any

import msgspec
import pytest

from services.api.workflows.schemas import RetryBody
from services.scheduler.workflow_repair import WorkflowRepair
from services.worker.workflows.inputs import Inputs
from shared.workflows import advance as advancing
from shared.workflows import applying
from shared.workflows.refusals import ResultsGone, RetryRefused, StepHasNotRun, StepsUnfinished
from shared.workflows.retry import Handlers, Mode
from shared.workflows.workflow import ALWAYS, Workflow
from tests.eventually import eventually
from tests.integration.workflows.crew import WAITING, Crew, Paused
from tests.integration.workflows.plays import end, finish, submit
from tests.platform import Platform
from tests.sample_tasks import COUNT, INSTANT, REPORT, Nothing, Number, Outcomes

WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def chain(**second: Any) -> Workflow:
    """A workflow of three steps, each of which reads the result of the one before, and a last step
    that always runs and reads how they ended.
    """
    flow = Workflow("chain")
    first = flow.step(COUNT, Number(value=1), name="first")
    middle = flow.step(COUNT, Number(value=first.result.value), name="second", **second)
    third = flow.step(COUNT, Number(value=middle.result.value), name="third")
    told = Outcomes(outcomes=[first.outcome, middle.outcome, third.outcome])
    flow.step(REPORT, told, name="report", when=ALWAYS)
    return flow


def body(mode: Mode, step: str | None = None, **more: Any) -> RetryBody:
    return RetryBody(mode=mode, step=step, **{"handlers": Handlers.AGAIN, **more})


async def test_of_many_retries_at_once_one_is_accepted_and_runs_each_task_once(
    platform: Platform, crew: Crew
) -> None:
    workflow = await submit(platform, chain())
    assert await finish(crew) == ["first", "second", "third", "report"]
    again = body(Mode.ALL)
    accepted = await asyncio.gather(*(crew.retry_workflow(workflow, again) for _ in range(10)))
    assert accepted.count(True) == 1
    await asyncio.gather(*(crew.advance() for _ in range(3)))
    assert not await crew.retry_workflow(workflow, again), "its first step has not ended"
    assert await finish(crew) == ["first", "second", "third", "report"]
    (flow,) = await platform.rows("SELECT status, run FROM workflow")
    assert flow == {"status": "success", "run": 2}


async def test_a_retry_waits_for_an_advance_and_sees_what_it_did(platform: Platform, crew: Crew) -> None:
    workflow = await submit(platform, chain())
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    await crew.end(await crew.tasks("holder IS NOT NULL"), ["failure"])
    paused: Any = Paused(platform.database)
    slow = asyncio.create_task(advancing.advance(paused, [workflow]))
    await paused.taken.wait()
    retry = asyncio.create_task(crew.retry_workflow(workflow, body(Mode.FAILED, handlers=None)))
    await eventually(lambda: platform.rows(WAITS))
    paused.go_on.set()
    await slow
    assert not await retry, "the advance has let the handler begin, and the retry did not mention handlers"
    assert await crew.retry_workflow(workflow, body(Mode.FAILED, handlers=Handlers.KEEP))
    assert await end(crew) == ["report"]
    assert await finish(crew) == ["first", "second", "third"]


async def test_an_accepted_retry_survives_the_process_that_begins_it(platform: Platform, crew: Crew) -> None:
    workflow = await submit(platform, chain())
    await finish(crew, second="failure")
    assert await crew.retry_workflow(workflow, body(Mode.DOWNSTREAM))
    for _ in range(2):
        await crew.advance_cut_off()
        assert not await crew.tasks("completed_at IS NULL")
    await crew.advance()
    assert await finish(crew) == ["second", "third", "report"]


async def test_a_group_is_mended_and_repeated_in_shares(
    platform: Platform, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applying, "MAX_RELEASED", 7)
    flow = Workflow("large")
    many = flow.group(INSTANT, [Nothing()] * 40, name="many")
    flow.group(INSTANT, [Nothing()] * 5, name="after", after=[many])
    workflow = await submit(platform, flow)
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    held = await crew.tasks("holder IS NOT NULL")
    await crew.end(held, ["failure"] * 30 + ["success"] * 10)
    await crew.advance()
    async with platform.database.transaction():
        choice = await crew.retries.accept(workflow, body(Mode.FAILED))
    assert choice.tasks == 30
    await crew.advance()
    assert len(await crew.tasks(WAITING)) == 30
    assert (await finish(crew)).count("after") == 5
    async with platform.database.transaction():
        choice = await crew.retries.accept(workflow, body(Mode.ALL))
    await crew.advance()
    assert (choice.tasks, len(await crew.tasks(WAITING))) == (45, 40)
    await finish(crew)


async def test_a_step_that_is_repeated_before_its_end_was_counted_runs_again(
    platform: Platform, crew: Crew
) -> None:
    workflow = await submit(platform, chain())
    waiting = await crew.tasks(WAITING)
    await crew.claim(task["id"] for task in waiting)
    await crew.end(await crew.tasks("holder IS NOT NULL"), ["success"])
    assert await crew.retry_workflow(workflow, body(Mode.ALL)), (
        "its end is an event that no advance has applied"
    )
    await crew.advance()
    await crew.check()
    assert await finish(crew) == ["first", "second", "third", "report"]


async def test_a_step_that_waits_again_has_no_ends_and_its_tasks_are_left_alone(
    platform: Platform, crew: Crew
) -> None:
    workflow = await submit(platform, chain())
    await finish(crew)
    (report,) = await crew.tasks("step = 'report'")
    reader = Inputs(platform.database, {}, platform.vault)

    async def told() -> list[str]:
        found = await reader.read(workflow, report["inputs"])
        return [outcome["status"] for outcome in found["outcomes"]]

    assert await told() == ["success"] * 3
    await crew.retry_workflow(workflow, body(Mode.FROM, "second"))
    await crew.advance()
    assert (await told())[2] == "skipped", "what the former run has returned is not read"
    third = (await crew.tasks("step = 'third'"))[0]
    assert not await crew.retry(third)
    with pytest.raises(StepHasNotRun, match="waits for"):
        await crew.retries.choose_for_task(workflow, "third", Handlers.KEEP)
    await WorkflowRepair(platform.database, still_s=0.0).run_once()
    assert not await platform.rows("SELECT 1 FROM workflow_event"), "its former end is not missing"
    assert await finish(crew, second="failure") == ["second", "report"]
    assert await told() == ["success", "failure", "skipped"]
    attempts = await platform.attempts(third["id"])
    assert (third["status"], attempts) == ("success", []), "it did not run again"


async def test_the_first_end_of_a_task_that_runs_again_is_an_attempt(platform: Platform, crew: Crew) -> None:
    workflow = await submit(platform, chain())
    await finish(crew)
    before = {task["step"]: task for task in await crew.tasks("true")}
    await crew.retry_workflow(workflow, body(Mode.ALL))
    await crew.advance()
    await finish(crew)
    for task in await crew.tasks("true"):
        assert task["id"] == before[task["step"]]["id"]
        assert task["claim"] > before[task["step"]]["claim"]
        (attempt,) = await platform.attempts(task["id"])
        assert (attempt["attempt"], attempt["outcome"], task["attempt"]) == (1, "success", 2)


async def test_what_was_left_of_a_cancellation_does_not_reach_the_next_run(
    platform: Platform, crew: Crew
) -> None:
    workflow = await submit(platform, chain())
    await finish(crew, first="revoked")
    await platform.rows(
        "INSERT INTO workflow_event (workflow, step, kind) VALUES ({}, 'first', 'cancel_rest')", workflow
    )
    assert await crew.retry_workflow(workflow, body(Mode.FAILED))
    await crew.advance()
    assert await finish(crew) == ["first", "second", "third", "report"]


async def test_a_retry_of_running_steps_is_refused_and_of_failed_members_is_not(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("group")
    flow.group(INSTANT, [Nothing()] * 2, name="many")
    workflow = await submit(platform, flow)
    one, _ = await crew.tasks(WAITING)
    await crew.claim([one["id"]])
    await crew.end(await crew.tasks("holder IS NOT NULL"), ["failure"])
    with pytest.raises(StepsUnfinished, match="many"):
        await crew.retries.accept(workflow, body(Mode.ALL))
    assert await crew.retry_workflow(workflow, body(Mode.FAILED)), "its end need not be applied yet"
    await crew.advance()
    assert len(await finish(crew)) == 2


async def test_a_retry_that_reads_deleted_results_names_the_step(platform: Platform, crew: Crew) -> None:
    workflow = await submit(platform, chain())
    await finish(crew, third="failure")
    await platform.rows("DELETE FROM task WHERE step = 'second'")
    for retry in (body(Mode.FAILED), body(Mode.FROM, "third"), body(Mode.ALL)):
        with pytest.raises(ResultsGone, match="age: second"):
            await crew.retries.accept(workflow, retry)
    await platform.rows("DELETE FROM workflow")


async def test_a_workflow_runs_again_from_the_moment_its_retry_is_accepted(
    platform: Platform, crew: Crew
) -> None:
    workflow = await submit(platform, chain())
    await crew.cancel_workflow(workflow)
    while not await platform.rows("SELECT 1 FROM workflow WHERE status = 'revoked'"):
        await end(crew)
    await platform.rows("UPDATE workflow SET deadline_at = now() - interval '1 day'")
    assert await crew.retry_workflow(workflow, body(Mode.FAILED))
    (flow,) = await platform.rows("SELECT *, deadline_at > now() AS fresh FROM workflow")
    assert (flow["status"], flow["completed_at"], flow["cancel_requested_at"]) == ("running", None, None)
    assert flow["fresh"]
    await crew.cancel_workflow(workflow)
    await crew.advance()
    with pytest.raises(RetryRefused):
        await crew.retries.accept(workflow, body(Mode.ALL))


async def test_a_constant_takes_the_place_of_a_result_that_is_gone(platform: Platform, crew: Crew) -> None:
    workflow = await submit(platform, chain())
    await finish(crew, second="failure")
    await platform.rows("DELETE FROM task WHERE step = 'first'")
    again = body(Mode.FROM, "second", handlers=Handlers.KEEP)
    assert not await crew.retry_workflow(workflow, again)
    again.params = {"value": 9}
    assert await crew.retry_workflow(workflow, again)
    await crew.advance()
    (task,) = await crew.tasks("step = 'second'")
    assert (msgspec.json.decode(task["params"]), task["inputs"]) == ({"value": 9}, None)
    assert await finish(crew) == ["second", "third"]
    await platform.rows("DELETE FROM workflow")
