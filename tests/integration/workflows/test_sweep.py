"""Tests of the leader's sweep for workflow events: it misses none that commits late, and reads none
that is applied already.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from services.scheduler import workflows
from services.scheduler.workflows import BATCH, Sweep
from shared.errors import ServerRefuses
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions import record
from shared.ledger.transitions import workflow as transitions
from shared.workflows import advance
from shared.workflows.advancer import Advancer
from shared.workflows.workflow import Workflow
from tests.canceled_statements import canceled
from tests.explain import explain
from tests.integration.workflows.crew import WAITING, Crew
from tests.integration.workflows.plays import end_all, single, status, submitter
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

APPLIED = 100_000


def sweep_of(platform: Platform) -> Sweep:
    return Sweep(platform.database, Advancer(platform.database, platform.queues))


@asynccontextmanager
async def completing(platform: Platform, crew: Crew, task: dict[str, Any]) -> AsyncIterator[None]:
    """A transaction of a body that has called `complete_in`. It commits when this context ends."""
    now = datetime.now(UTC)
    connection = await platform.database.connect()
    try:
        await connection.execute("BEGIN")
        values = {"id": task["id"], "claim": task["claim"], "worker": crew.worker, "attempt": 1}
        values |= {"started_at": now, "ended_at": now, "execution_s": 0.0, "result": "{}", "key_id": None}
        values["trace_context"] = None
        await connection.fetch(record.COMPLETE.sql, *record.COMPLETE.values(values))
        yield
        await connection.execute("COMMIT")
    finally:
        await connection.close()


async def test_an_end_that_commits_after_later_ones_were_applied_is_found_at_once(
    platform: Platform, crew: Crew
) -> None:
    late = await submitter(platform).submit(single())
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    (held,) = await crew.tasks("holder IS NOT NULL")
    sweep = sweep_of(platform)
    async with completing(platform, crew, held):
        for _ in range(3):
            await submitter(platform).submit(single())
            await crew.claim(task["id"] for task in await crew.tasks(WAITING))
            later = await crew.tasks(f"workflow <> '{late}' AND completed_at IS NULL")
            await crew.end(later, ["success"] * len(later))
            await sweep.run_once()
            rows = await platform.rows("SELECT status FROM workflow WHERE id <> {}", late)
            assert {row["status"] for row in rows} == {"success"}
        await sweep.run_once()
        assert await status(platform, late) == "running"
    await sweep.run_once()
    assert await status(platform, late) == "success"


async def pages_read(platform: Platform, statement: Statement, **values: Any) -> int:
    """Number of database pages that a statement of the scheduler reads."""
    database = Database.for_service(platform.database_url, "scheduler", by_index=True)
    await database.open(size=1)
    try:
        (row,) = await database.run(explain(statement, "ANALYZE, BUFFERS, FORMAT JSON"), **values)
    finally:
        await database.close()
    (plan,) = msgspec.json.decode(row["QUERY PLAN"])
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


async def test_a_look_does_not_read_events_that_are_applied_and_cannot_be_removed(
    platform: Platform, crew: Crew
) -> None:
    """An open snapshot keeps vacuum from removing events that were applied.

    Nevertheless the sweep must not read them.
    """
    reader = await platform.database.connect()
    try:
        await reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await reader.fetch("SELECT 1 FROM task")
        await platform.rows(
            "INSERT INTO workflow_event (workflow, kind) "
            "SELECT gen_random_uuid(), 'cancel' FROM generate_series(1, {}::integer)",
            APPLIED,
        )
        await platform.rows("DELETE FROM workflow_event")
        sweep = sweep_of(platform)
        for _ in range(2):
            workflow = await submitter(platform).submit(single())
            await end_all(crew)
            await sweep.run_once()
            assert await status(platform, workflow) == "success"
        after = sweep.cursor.after(0.0)
        from_start, from_cursor = [
            await pages_read(platform, transitions.PENDING, after=each, limit=BATCH) for each in (0, after)
        ]
    finally:
        await reader.close()
    assert from_start > 500
    assert from_cursor < 20


async def test_a_deadline_is_noted_once_however_long_its_workflow_cannot_advance(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflows, "BATCH", 2)
    ids = [await submitter(platform).submit(single()) for _ in range(3)]
    await platform.rows("UPDATE workflow SET deadline_at = now() - interval '1 s'")
    sweep = sweep_of(platform)
    assert [await sweep.note_deadlines() for _ in range(3)] == [True, False, False]
    events = await platform.rows("SELECT workflow FROM workflow_event WHERE kind = 'deadline'")
    assert sorted(row["workflow"] for row in events) == sorted(ids)
    while await sweep.run_once():
        pass
    assert not await sweep.note_deadlines()
    assert {row["late"] for row in await platform.rows("SELECT late FROM workflow")} == {True}


async def test_the_search_for_passed_deadlines_reads_no_events_of_other_workflows(platform: Platform) -> None:
    await submitter(platform).submit(single())
    await platform.rows("UPDATE workflow SET deadline_at = now() - interval '1 s'")
    await platform.rows(
        "INSERT INTO workflow_event (workflow, kind) "
        "SELECT gen_random_uuid(), 'deadline' FROM generate_series(1, {}::integer)",
        APPLIED,
    )
    assert await pages_read(platform, transitions.NOTE_DEADLINES, limit=BATCH) < 100


async def test_a_workflow_whose_statement_is_canceled_does_not_stop_the_others(
    platform: Platform, crew: Crew
) -> None:
    slow, sound = [await submitter(platform).submit(single()) for _ in range(2)]
    await end_all(crew)
    sweep = sweep_of(platform)
    async with canceled(platform, "UPDATE ON workflow", f"NEW.id = '{slow}'"):
        with pytest.raises(ServerRefuses, match="statement timeout"):
            await sweep.run_once()
    assert (await status(platform, slow), await status(platform, sound)) == ("running", "success")
    await sweep.run_once()
    assert await status(platform, slow) == "success"


async def test_a_running_group_is_left_to_the_workers_until_the_next_round(
    platform: Platform, crew: Crew
) -> None:
    """The next round would follow immediately, find the ends since then, and so on."""
    flow = Workflow("running")
    flow.group(INSTANT, [Nothing()] * 3)
    await submitter(platform).submit(flow)
    await crew.claim(task["id"] for task in await crew.tasks(WAITING))
    await crew.end((await crew.tasks("holder IS NOT NULL"))[:1], ["success"])
    assert not await sweep_of(platform).run_once()
    assert not await platform.rows("SELECT 1 FROM workflow_event")
    assert [row["succeeded"] for row in await platform.rows("SELECT succeeded FROM workflow_step")] == [1]


async def test_rounds_follow_immediately_while_tasks_are_canceled_and_while_many_events_wait(
    platform: Platform, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(advance, "MAX_CANCELLED", 2)
    monkeypatch.setattr(workflows, "BATCH", 2)
    flow = Workflow("canceled")
    flow.group(INSTANT, [Nothing()] * 3)
    workflow = await submitter(platform).submit(flow)
    await crew.cancel_workflow(workflow)
    sweep = sweep_of(platform)
    # The first round cancels two tasks, the second one the third task, and the third round applies
    # the last ends. All of them leave more to do.
    rounds = [await sweep.run_once()]
    while rounds[-1]:
        rounds.append(await sweep.run_once())
    assert rounds == [True, True, False]
    assert await status(platform, workflow) == "revoked"
    ids = [await submitter(platform).submit(single()) for _ in range(3)]
    for each in ids:
        await crew.cancel_workflow(each)
    assert await sweep.run_once()
