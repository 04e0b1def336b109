"""What the leader looks at again and again grows neither with history nor with what was done today."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from services.scheduler import dispatcher, rescuer, resender
from shared import backlog
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.tally import Tally
from shared.ledger.transitions import expire, rescue, send
from shared.schedules import statements as schedules
from tests.explain import explain
from tests.platform import Platform

HELD = Statement("""
    INSERT INTO task (name, type, queue, priority, params, holder)
    SELECT 'sample.instant', 'sample', 'default', 5, '{}', :holder FROM generate_series(1, :count)
""")
ENDED = Statement("""
    UPDATE task SET holder = NULL, status = 'success', completed_at = now() WHERE holder = :holder
""")
ALIVE = Statement("""
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (:id, 'test', 1, ARRAY['default'], 8, :lock_key)
""")
COUNT = 5_000
#: Blocks that may come on top: a tree of an index that is a level deeper, a page more of a catalogue.
SLACK = 100

LOOKS: dict[str, tuple[Statement, Mapping[str, Any]]] = {
    "rescue orphans": (rescue.RESCUE_ORPHANS, rescuer.VERDICT),
    "rescue from the dead": (rescue.RESCUE_FROM, {"workers": [uuid4()], **rescuer.VERDICT}),
    "expire": (expire.EXPIRE, {"limit": 1_000, "error_kind": "expired", "error_message": "too late"}),
    "dispatch": (dispatcher.DUE, {"limit": 2_000}),
    "count what is due": (backlog.DUE, {"limit": 10_000}),
    "count what is due later": (backlog.LATER, {"limit": 10_000}),
    "find the oldest of a lane": (backlog.FIRST_SENT, {"queue": "default", "priority": 5}),
    "find the lanes": (resender.LANES, {}),
    "find an earlier task of a schedule": (schedules.UNFINISHED, {"schedule": "nightly"}),
    "find what a lane lost": (
        send.LOST,
        {
            "queue": "default",
            "priority": 5,
            "before": datetime(2026, 1, 1, tzinfo=UTC),
            "suspects_before": datetime(2026, 1, 1, tzinfo=UTC),
            "limit": 1_000,
        },
    ),
}


async def blocks(platform: Platform) -> dict[str, int]:
    """How many blocks each statement reads where the scheduler sends it. None finds a row to change."""
    database = Database.for_service(platform.database_url, "scheduler", by_index=True)
    return {name: await _blocks(database, *look) for name, look in LOOKS.items()}


async def _blocks(database: Database, statement: Statement, values: Mapping[str, Any]) -> int:
    (row,) = await database.run(explain(statement, "ANALYZE, BUFFERS, FORMAT JSON"), **values)
    (plan,) = json.loads(row["QUERY PLAN"])
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize("analyzed", [False, True], ids=["nothing known of the day", "analyzed"])
async def test_no_look_reads_more_where_much_has_been_done(platform: Platform, *, analyzed: bool) -> None:
    busy, other = uuid4(), uuid4()
    for number, worker in enumerate((busy, other)):
        await platform.rows(ALIVE, id=worker, lock_key=number)
    before = await blocks(platform)

    await platform.rows(HELD, holder=busy, count=COUNT)
    await platform.rows(ENDED, holder=busy)
    if analyzed:
        await platform.rows("ANALYZE task")

    after = await blocks(platform)
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


async def test_what_a_living_worker_holds_is_left_alone_and_an_orphan_is_not(platform: Platform) -> None:
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
