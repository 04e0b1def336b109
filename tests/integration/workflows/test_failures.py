"""Tests of cases in which failed, canceled or interrupted workflows hang in other systems; see
docs/workflow_failures.md.
"""

from typing import Any
from uuid import UUID

import pytest

from services.worker.claims.claim import Attempt, Claim
from services.worker.claims.claims import Claims
from services.worker.running.outcome import Outcome
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.transitions import send
from shared.ledger.transitions import workflow as transitions
from shared.vault import Stored
from shared.workflows.shapes import chain
from shared.workflows.states import OnFailure
from shared.workflows.submission import WorkflowSubmitter
from shared.workflows.workflow import ALWAYS, GO_ON, STOP, Workflow
from tests.integration.workflows.crew import WAITING, Crew
from tests.integration.workflows.plays import (
    chord_of,
    hold_all,
    play,
    single,
    states,
    status,
    steps_of,
    submitter,
)
from tests.platform import Platform
from tests.recording import Recording
from tests.sample_tasks import INSTANT, Nothing


class Cut:
    """A database connection that is lost before the tasks of a new workflow are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def run(self, sql: Any, *values: Any, **named: Any) -> list[dict[str, Any]]:
        if sql is transitions.APPLY:
            raise ConnectionResetError
        return await self._database.run(sql, *values, **named)


async def test_a_submission_that_is_cut_off_halfway_leaves_nothing(platform: Platform, crew: Crew) -> None:
    cut: Any = Cut(platform.database)
    with pytest.raises(ServerUnavailable):
        await WorkflowSubmitter(cut, platform.submitter, platform.vault).submit(chord_of(3))
    for table in ("workflow", "workflow_step", "workflow_event", "task"):
        assert not await platform.rows(f"SELECT 1 FROM {table}")


async def test_a_failed_step_stops_its_siblings_and_the_workflow_ends_when_they_have(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("stop", on_failure=STOP)
    bad, held, waits = steps_of(flow, "bad", "held", "waits")
    flow.step(INSTANT, Nothing(), name="after", after=[waits])
    flow.step(INSTANT, Nothing(), name="clean", after=[bad, held, waits], when=ALWAYS)
    workflow = await submitter(platform).submit(flow)
    tasks = {task["step"]: task for task in await crew.tasks(WAITING)}
    await crew.claim(tasks[name]["id"] for name in ("bad", "held"))
    running = {task["step"]: task for task in await crew.tasks("holder IS NOT NULL")}
    await crew.end([running["bad"]], ["failure"])
    assert (await crew.advance()).held == [UUID(int=running["held"]["id"].int)]
    await crew.advance()
    assert (await crew.advance()).tasks == [], "the clean-up waits for the step that still runs"
    assert await status(platform, workflow) == "running"
    await play(crew, held="revoked")
    assert await states(crew, workflow) == {
        "bad": "failure",
        "held": "revoked",
        "waits": "revoked",
        "after": "skipped",
        "clean": "success",
    }
    assert await status(platform, workflow) == "failure"


@pytest.mark.parametrize("policy", [GO_ON, STOP])
@pytest.mark.parametrize("handled", ["success", "failure"])
async def test_a_handler_never_keeps_a_workflow_open(
    platform: Platform, crew: Crew, handled: str, policy: OnFailure
) -> None:
    flow = Workflow("handled", on_failure=policy)
    (pay,) = steps_of(flow, "pay")
    flow.on_failure(INSTANT, Nothing(), name="refund")
    flow.step(INSTANT, Nothing(), name="clean", after=[pay], when=ALWAYS)
    workflow = await submitter(platform).submit(flow)
    await play(crew, pay="failure", refund=handled, clean=handled)
    assert await status(platform, workflow) == "failure"


async def test_no_verdict_comes_before_the_last_member_has_ended(platform: Platform, crew: Crew) -> None:
    flow = Workflow("verdict")
    many = flow.group(INSTANT, [Nothing()] * 3, name="many")
    flow.step(INSTANT, Nothing(), name="clean", after=[many], when=ALWAYS)
    workflow = await submitter(platform).submit(flow)
    for task, outcome in zip(await hold_all(crew), ("failure", "success", "success"), strict=True):
        assert not await crew.tasks("step = 'clean'")
        await crew.end([task], [outcome])
        await crew.advance()
        assert await status(platform, workflow) == "running"
    await play(crew)
    assert await status(platform, workflow) == "failure"


async def test_canceling_a_workflow_reaches_all_of_it_and_no_other_one(
    platform: Platform, crew: Crew
) -> None:
    mine, other = [await submitter(platform).submit(chord_of(3)) for _ in range(2)]
    await crew.cancel_workflow(mine)
    for _ in range(2):
        await crew.advance()
    assert await states(crew, mine) == {"many": "revoked", "body": "skipped"}
    assert await status(platform, mine) == "revoked"
    await play(crew)
    assert await status(platform, other) == "success"


async def test_a_deadline_ends_a_workflow_whose_worker_is_dead(platform: Platform, crew: Crew) -> None:
    workflow = await submitter(platform).submit(single())
    await hold_all(crew)
    await crew.pass_deadline(workflow)
    await crew.advance()
    assert await status(platform, workflow) == "running"
    await crew.die(crash_limit=9)
    await crew.advance()
    assert await status(platform, workflow) == "failure"


async def test_one_failed_step_starts_again_and_what_never_began_follows(
    platform: Platform, crew: Crew
) -> None:
    flow = Workflow("chain")
    chain(*steps_of(flow, "first", "second", "third"))
    workflow = await submitter(platform).submit(flow)
    await play(crew, second="failure")
    assert (await states(crew, workflow))["third"] == "skipped"
    (second,) = await crew.tasks("step = 'second'")
    await crew.retry(second)
    await crew.advance()
    await play(crew)
    assert await states(crew, workflow) == dict.fromkeys(("first", "second", "third"), "success")
    assert [task["claim"] for task in await crew.tasks("step = 'first'")] == [1]


async def test_a_result_that_postgres_refuses_fails_its_step(platform: Platform, crew: Crew) -> None:
    flow = Workflow("refused")
    steps_of(flow, "bad")
    flow.on_failure(INSTANT, Nothing(), name="repair")
    workflow = await submitter(platform).submit(flow)
    (task,) = await crew.tasks(WAITING)
    (row,) = await crew.run(send.CLAIM, worker=crew.worker, id=[task["id"]])
    attempt, claims = Attempt.of(Claim.from_row(row)), Claims(8)
    claims.add([attempt])
    recording = Recording(crew.worker, claims, platform.database, platform.queues)
    async with recording.writing():
        recording.inbox.note_end(attempt, Outcome(Status.SUCCESS, result=Stored("{not json", None)))
        assert await recording.flush(10)
    await play(crew)
    assert await states(crew, workflow) == {"bad": "failure", "repair": "success"}
    assert await status(platform, workflow) == "failure"
