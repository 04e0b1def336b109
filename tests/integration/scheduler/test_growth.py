"""Tests that the cost of the leader's regular queries does not grow with history and
finished work.
"""

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from services.scheduler import dispatcher, former_workers, index_cursor, lane_check, parked_gauges, rescuer
from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import LaneCheck
from shared import backlog
from shared.ledger.database import Database
from shared.ledger.lifecycle import UNKNOWN_TO_WORKERS
from shared.ledger.statement import Statement
from shared.ledger.tally import Tally
from shared.ledger.transitions import expire, rescue, send
from shared.schedules import firing_record
from shared.schedules import statements as schedules
from tests.explain import explain
from tests.platform import Platform

HELD = Statement("""
    INSERT INTO task (name, type, queue, priority, params, holder, schedule, fire_time)
    SELECT 'sample.instant', 'sample', 'default', 5, '{}', :holder, (ARRAY['hourly', 'broken'])[1 + n % 2],
        now() - make_interval(secs => n)
    FROM generate_series(1, :count) AS n
""")
ENDED = Statement("""
    UPDATE task SET holder = NULL, completed_at = now(),
        status = CASE schedule WHEN 'broken' THEN 'failure' ELSE 'success' END,
        error_kind = CASE schedule WHEN 'broken' THEN 'bug' END
    WHERE holder = :holder
""")
SCHEDULE = Statement("""
    INSERT INTO schedule (name, task_name, params, kind, expression, next_fire_time)
    VALUES (:name, 'sample.instant', '{}', 'interval', '1 min', now() + interval '1 day')
""")
ALIVE = Statement("""
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (:id, 'test', 1, ARRAY['default'], 8, :lock_key)
""")
#: Inserts tasks that were due a minute ago. CLAIMED makes them look as if they have been sent and
#: claimed since.
SENT = Statement("""
    WITH made AS (
        INSERT INTO task (id, name, type, queue, status, params, send_at, created_at)
        SELECT uuidv7(), 'sample.instant', 'sample', 'default', 'pending', '{}',
               now() - interval '1 min', now()
        FROM generate_series(1, :count::int) RETURNING id
    )
    SELECT count(*) AS n FROM made
""")
CLAIMED = "UPDATE task SET send_at = NULL, holder = '019ab000-0000-7000-8000-000000000001'"
COUNT = 5_000
#: Tolerated difference in the number of blocks read, in case an index gets one level deeper or a
#: catalog gets a further page.
SLACK = 100

#: Values of a statement that reads the index of `sent_at` by lane, for no lane.
NO_LANES: dict[str, list[Any]] = {"queue": [], "priority": [], "sent_after": []}

LOOKS: dict[str, tuple[Statement, Mapping[str, Any]]] = {
    "rescue orphans": (rescue.RESCUE_ORPHANS, rescuer.VERDICT),
    "rescue from the dead": (rescue.RESCUE_FROM, {"workers": [uuid4()], **rescuer.VERDICT}),
    "find former workers that hold tasks": (former_workers.HOLDING, {"workers": [uuid4(), uuid4()]}),
    "expire": (expire.EXPIRE, {"limit": 1_000, "error_kind": "expired", "error_message": "too late"}),
    "dispatch": (dispatcher.DUE, {"limit": 2_000, **dataclasses.asdict(IndexCursor().look())}),
    "count what is due": (backlog.DUE, {"limit": 10_000, "after": backlog.BEGINNING}),
    "count what is due later": (backlog.LATER, {"limit": 10_000}),
    "find the oldest of a lane": (
        backlog.FIRST_SENT,
        {"queue": "default", "priority": 5, "after": backlog.BEGINNING},
    ),
    "find the lanes": (lane_check.WITH_SENT, {}),
    "find an earlier task of a schedule": (schedules.UNFINISHED, {"schedule": "nightly"}),
    "find the last success of each schedule": (firing_record.OLDER_SUCCESS, {"known": ["other"]}),
    "find what a lane lost": (
        send.LOST,
        {
            "queue": "default",
            "priority": 5,
            "after": [backlog.BEGINNING],
            "before": [datetime(2026, 1, 1, tzinfo=UTC)],
            "suspects_before": datetime(2026, 1, 1, tzinfo=UTC),
            "limit": 1_000,
        },
    ),
}


async def blocks(platform: Platform) -> dict[str, int]:
    """Number of blocks that each regular statement of the scheduler reads when there is no row to
    change.
    """
    database = _scheduler(platform)
    return {name: await _blocks(database, *look) for name, look in LOOKS.items()}


def _scheduler(platform: Platform) -> Database:
    """A database connection pool with the options that the scheduler uses."""
    return Database.for_service(platform.database_url, "scheduler", by_index=True)


async def _blocks(database: Database, statement: Statement, values: Mapping[str, Any]) -> int:
    (row,) = await database.run(explain(statement, "ANALYZE, BUFFERS, FORMAT JSON"), **values)
    (plan,) = json.loads(row["QUERY PLAN"])
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize("analyzed", [False, True], ids=["nothing known of the day", "analyzed"])
async def test_no_query_reads_more_after_much_finished_work(platform: Platform, *, analyzed: bool) -> None:
    busy, other = uuid4(), uuid4()
    for number, worker in enumerate((busy, other)):
        await platform.rows(ALIVE, id=worker, lock_key=number)
    for name in ("hourly", "broken"):
        await platform.rows(SCHEDULE, name=name)
    before = await blocks(platform)

    await platform.rows(HELD, holder=busy, count=COUNT)
    await platform.rows(ENDED, holder=busy)
    if analyzed:
        await platform.rows("ANALYZE task")

    after = await blocks(platform)
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


async def test_looks_for_due_tasks_read_no_more_while_a_snapshot_is_held(platform: Platform) -> None:
    """While a snapshot is open, as during a backup, vacuum cannot remove the index entries of tasks
    that were sent.
    """
    cursor, database = IndexCursor(), _scheduler(platform)
    before = {name: await _blocks(database, *look) for name, look in _due_looks(cursor).items()}
    snapshot = await platform.database.connect()
    try:
        await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM task")
        await platform.rows(SENT, count=4 * COUNT)
        await platform.rows(CLAIMED)
        from_start = await _blocks(database, *_due_looks(cursor)["dispatch"])
        cursor.note_empty(platform.database.now())
        # Each look reads one window of earlier times again, in turn. This call takes the window
        # that contains the times of these tasks, so that the looks measured below read another one.
        cursor.look()
        cursor.note_empty(platform.database.now() + index_cursor.WINDOW)
        after = {name: await _blocks(database, *look) for name, look in _due_looks(cursor).items()}
    finally:
        await snapshot.close()
    assert from_start > before["dispatch"] + 3 * SLACK
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


def _due_looks(cursor: IndexCursor) -> dict[str, tuple[Statement, Mapping[str, Any]]]:
    """The leader's statements that read the index of `send_at`, by name, each with its values."""
    look = cursor.look()
    return {
        "dispatch": (dispatcher.DUE, {"limit": 2_000, **dataclasses.asdict(look)}),
        "count what is due": (backlog.DUE, {"limit": 10_000, "after": look.after}),
        "count what is parked": (
            parked_gauges.PARKED,
            {"limit": 2_000, "due_after": look.after, **NO_LANES, "reason": UNKNOWN_TO_WORKERS},
        ),
    }


async def test_looks_for_sent_tasks_read_no_more_while_a_snapshot_is_held(platform: Platform) -> None:
    """While a snapshot is open, vacuum cannot remove the index entries of sent tasks that workers
    have claimed.
    """
    lanes, database = LaneCheck(platform.database, platform.queues, ["default"]), _scheduler(platform)
    before = {name: await _blocks(database, *look) for name, look in _sent_looks(lanes).items()}
    snapshot = await platform.database.connect()
    try:
        await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM task")
        await platform.rows(SENT, count=4 * COUNT)
        await platform.rows("UPDATE task SET send_at = NULL, sent_at = now() - interval '1 min'")
        await platform.rows(f"{CLAIMED}, sent_at = NULL")
        from_start = {name: await _blocks(database, *look) for name, look in _sent_looks(lanes).items()}
        await lanes.run_once()
        after = {name: await _blocks(database, *look) for name, look in _sent_looks(lanes).items()}
    finally:
        await snapshot.close()
    assert {name: count for name, count in from_start.items() if count > before[name] + SLACK} == from_start
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


def _sent_looks(lanes: LaneCheck) -> dict[str, tuple[Statement, Mapping[str, Any]]]:
    """The leader's regular statements that read the index of `sent_at`, by name, each with its
    values.
    """
    lane = {"queue": "default", "priority": 5}
    after, now = lanes.sent_after("default", 5), datetime.now(UTC)
    columns = {name: [value] for name, value in {**lane, "sent_after": after}.items()}
    return {
        "find the oldest of a lane": (backlog.FIRST_SENT, {**lane, "after": after}),
        "find what a lane lost": (
            send.LOST,
            {**lane, "after": [after], "before": [now], "suspects_before": now, "limit": 1_000},
        ),
        "count what is parked": (
            parked_gauges.PARKED,
            {"limit": 2_000, "due_after": now, **columns, "reason": UNKNOWN_TO_WORKERS},
        ),
    }


async def test_looks_for_tasks_of_unknown_workers_read_no_more_while_a_snapshot_is_held(
    platform: Platform,
) -> None:
    """While a snapshot is open, vacuum cannot remove the index entries of tasks that a worker has
    completed before it replaced itself.
    """
    replaced, database = uuid4(), _scheduler(platform)
    await platform.rows(ALIVE, id=replaced, lock_key=1)
    look = LOOKS["rescue orphans"]
    before = await _blocks(database, *look)
    snapshot = await platform.database.connect()
    try:
        await snapshot.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM task")
        await platform.rows(HELD, holder=replaced, count=4 * COUNT)
        await platform.rows(ENDED, holder=replaced)
        await platform.rows("UPDATE worker SET stopped_at = now() - interval '61 min'")
        long_ago = await _blocks(database, *look)
        await platform.rows("UPDATE worker SET stopped_at = now()")
        recently = await _blocks(database, *look)
    finally:
        await snapshot.close()
    assert long_ago > before + 2 * SLACK
    assert recently <= before + SLACK


async def test_tasks_of_living_workers_are_kept_and_orphans_are_rescued(platform: Platform) -> None:
    workers = sorted(uuid4() for _ in range(3))
    for number, worker in enumerate(workers):
        await platform.rows(ALIVE, id=worker, lock_key=number)
        await platform.rows(HELD, holder=worker, count=1)
    nobody = uuid4()
    await platform.rows(HELD, holder=nobody, count=1)
    await platform.rows("UPDATE worker SET stopped_at = now() WHERE id = {}", workers[1])

    tally = Tally(platform.database)
    await rescuer.Rescuer(platform.database, platform.queues, tally, stall_after_s=60).run_once()

    rows = await platform.rows("SELECT holder FROM task WHERE holder IS NOT NULL ORDER BY holder")
    assert [row["holder"] for row in rows] == [workers[0], workers[2]]
    (sent,) = await platform.rows("SELECT count(*) FROM task WHERE send_at <= now() AND suspect")
    assert sent["count"] == 2
