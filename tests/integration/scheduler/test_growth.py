"""What the leader looks at again and again grows neither with history nor with what was done today."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from services.scheduler import backlog, dispatcher, expirer, rescuer, resender
from services.scheduler.__main__ import build_engine
from shared.ledger import engine
from shared.ledger.tables import Task
from shared.schedules import statements as schedules
from shared.settings import Settings
from tests.platform import Platform

#: values: holder, how many.
HELD = """
    INSERT INTO task (name, type, queue, priority, params, holder)
    SELECT 'sample.instant', 'sample', 'default', 5, '{{}}', {} FROM generate_series(1, {})
"""
ENDED = "UPDATE task SET holder = NULL, status = 'success', completed_at = now() WHERE holder = {}"
ALIVE = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES ({}, 'test', 1, ARRAY['default'], 8, {})
"""
COUNT = 5_000
#: Blocks that may come on top: a tree of an index that is a level deeper, a page more of a catalogue.
SLACK = 100

_RESCUED = (1_000, 3, 3, 3, 3, "crash_loop", 3, "died", "worker_died")
LOOKS = {
    "rescue strays": (rescuer.RESCUE_STRAY, _RESCUED),
    "rescue from the dead": (rescuer.RESCUE_FROM, ([uuid4()], *_RESCUED)),
    "expire": (expirer.EXPIRE, ("expired", "too late", 1_000)),
    "dispatch": (dispatcher.DUE, (2_000,)),
    "count what is due": (backlog.DUE, (10_000,)),
    "count what is due later": (backlog.LATER, (10_000,)),
    "find the oldest of a lane": (backlog.FIRST_SENT, ("default", 5)),
    "find the lanes": (resender.LANES, ()),
    "find an earlier task of a schedule": (schedules.UNFINISHED, ("nightly",)),
    "find what a lane lost": (resender.LOST, ("default", 5, datetime(2026, 1, 1, tzinfo=UTC), 1_000)),
}


async def blocks(platform: Platform) -> dict[str, int]:
    """How many blocks each statement reads where the scheduler sends it. None finds a row to change."""
    bound: Any = Task._meta.db
    engine.bind(build_engine(Settings(database_url=platform.database_url)))
    try:
        return {name: await _blocks(*look) for name, look in LOOKS.items()}
    finally:
        engine.bind(bound)


async def _blocks(sql: str, values: tuple[Any, ...]) -> int:
    (row,) = await engine.run(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", *values)
    (plan,) = json.loads(row["QUERY PLAN"])
    return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize("analyzed", [False, True], ids=["nothing known of the day", "analyzed"])
async def test_no_look_reads_more_where_much_has_been_done(platform: Platform, *, analyzed: bool) -> None:
    busy, other = uuid4(), uuid4()
    for number, worker in enumerate((busy, other)):
        await platform.rows(ALIVE, worker, number)
    before = await blocks(platform)

    await platform.rows(HELD, busy, COUNT)
    await platform.rows(ENDED, busy)
    if analyzed:
        await platform.rows("ANALYZE task")

    after = await blocks(platform)
    assert {name: count for name, count in after.items() if count > before[name] + SLACK} == {}


async def test_what_a_living_worker_holds_is_left_alone_and_a_stray_is_not(platform: Platform) -> None:
    workers = sorted(uuid4() for _ in range(3))
    for number, worker in enumerate(workers):
        await platform.rows(ALIVE, worker, number)
        await platform.rows(HELD, worker, 1)
    nobody = uuid4()
    await platform.rows(HELD, nobody, 1)
    await platform.rows("UPDATE worker SET stopped_at = now() WHERE id = {}", workers[1])

    await rescuer.Rescuer(platform.queues, stall_after_s=60).run_once()

    rows = await platform.rows("SELECT holder FROM task WHERE holder IS NOT NULL ORDER BY holder")
    assert [row["holder"] for row in rows] == [workers[0], workers[2]]
    (sent,) = await platform.rows("SELECT count(*) FROM task WHERE send_at <= now() AND suspect")
    assert sent["count"] == 2
