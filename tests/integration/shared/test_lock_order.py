"""Tests that two statements over the same rows lock them in the order of their ids, so that they
cannot deadlock.
"""

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.worker.recording.record import Row, columns
from shared.backlog import BEGINNING
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions import record, send
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES ({}, 'test', 1, '{{default}}', 8, 1)
"""
#: Rewrites all rows so that the newest id comes first on disk.
TURN_ROUND = """
    DO $$ DECLARE one uuid; BEGIN
        FOR one IN SELECT id FROM task ORDER BY id DESC LOOP
            UPDATE task SET queue = queue WHERE id = one;
        END LOOP;
    END $$
"""
HELD = "UPDATE task SET holder = {}, claim = 1, send_at = NULL, sent_at = NULL"
UNSENT = "UPDATE task SET send_at = now(), sent_at = NULL"
WAITS = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
FREE = "SELECT id FROM task FOR UPDATE SKIP LOCKED"

SERVICES: dict[str, Callable[[str], Database]] = {
    "worker": lambda url: Database.for_recorder(url, "worker"),
    "scheduler": lambda url: Database.for_service(url, "scheduler", by_index=True),
}


def claims(ids: list[UUID], number: int) -> dict[str, Any]:
    return {"id": ids, "claim": [number] * len(ids)}


def records(ids: list[UUID]) -> dict[str, Any]:
    rows = [Row(i, claim=1, status="started", released=False, attempt=1, failures=0) for i in ids]
    return {name: record.sparse(column) for name, column in columns(rows).items()}


#: The tested statements by name. Each has its values, a statement that moves the tasks to the place
#: it expects (if it needs one), and the services that run it.
STATEMENTS: dict[
    str, tuple[Statement, Callable[[list[UUID], UUID], dict[str, Any]], str | None, list[str]]
] = {
    "CLAIM": (send.CLAIM, lambda ids, worker: {"id": ids, "worker": worker}, None, ["worker"]),
    "MARK_SENT": (send.MARK_SENT, lambda ids, _: claims(ids, 0), UNSENT, ["worker", "scheduler"]),
    "UNCLAIMED_TO_POSTGRES": (
        send.UNCLAIMED_TO_POSTGRES,
        lambda ids, _: {"id": ids},
        None,
        ["worker", "scheduler"],
    ),
    "GIVE_BACK_FORGOTTEN": (
        send.GIVE_BACK_FORGOTTEN,
        lambda ids, worker: claims(ids, 1) | {"worker": worker},
        HELD,
        ["worker"],
    ),
    "RECORD": (record.RECORD, lambda ids, worker: records(ids) | {"worker": worker}, HELD, ["worker"]),
}


SENT_BY = [(service, name) for name, (*_, senders) in STATEMENTS.items() for service in senders]


@pytest.mark.parametrize("count", [3, 400])
@pytest.mark.parametrize(("service", "name"), SENT_BY)
async def test_a_statement_that_waits_for_the_first_row_has_locked_no_other(
    platform: Platform, service: str, name: str, count: int
) -> None:
    statement, given, place, _ = STATEMENTS[name]
    worker = uuid4()
    await platform.rows(WORKER, worker)
    ids = sorted(await platform.submit(INSTANT, Nothing(), count=count))
    if place is not None:
        await platform.rows(place, *([worker] if place == HELD else []))
    await platform.rows(TURN_ROUND)
    database = SERVICES[service](platform.database_url)
    await database.open(size=1)
    other = await asyncpg.connect(platform.database_url)
    async with other.transaction():
        await other.execute("SELECT 1 FROM task WHERE id = $1 FOR UPDATE", ids[0])
        run = asyncio.create_task(database.run(statement, **given(ids, worker)))
        await eventually(lambda: platform.rows(WAITS))
        free = await platform.rows(FREE)
    await run
    await other.close()
    await database.close()
    assert sorted(row["id"] for row in free) == ids[1:]


async def locked(
    platform: Platform, statement: Statement, task_id: UUID, **values: Any
) -> list[dict[str, Any]]:
    """Run a statement while another session has locked a task."""
    other = await asyncpg.connect(platform.database_url)
    try:
        async with other.transaction():
            await other.execute("SELECT 1 FROM task WHERE id = $1 FOR UPDATE", task_id)
            return await platform.rows(statement, **values)
    finally:
        await other.close()


async def test_a_task_lost_from_a_lane_is_skipped_while_it_is_locked(platform: Platform) -> None:
    """Lost tasks are found by the time of their push, so they cannot be locked in the order of
    their ids.

    To avoid deadlocks, locked rows are skipped.
    """
    first, second = sorted(await platform.submit(INSTANT, Nothing(), count=2))
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 hour'")
    (row,) = await platform.rows("SELECT now() AS now")
    lane = {"queue": INSTANT.queue, "priority": INSTANT.priority, "limit": 10}
    lost = await locked(
        platform, send.LOST, first, after=[BEGINNING], before=[row["now"]], suspects_before=None, **lane
    )
    assert [row["id"] for row in lost] == [second]


async def test_a_submitter_marks_no_task_that_is_locked(platform: Platform) -> None:
    """The API marks pushed tasks in any order.

    To avoid deadlocks, it skips locked rows: they are being claimed and need no mark.
    """
    first, second = sorted(await platform.submit(INSTANT, Nothing(), count=2))
    await platform.rows(UNSENT)
    await locked(platform, send.MARK_PUSHED, first, **claims([first, second], 0))
    assert [row["sent_at"] is not None for row in await platform.tasks([first, second])] == [False, True]
