"""Tests that tasks that wait longer than the retention move to the kept partition, and still work
as before.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from services.scheduler import kept
from services.scheduler.kept import Kept
from shared.ledger import partitions
from shared.ledger.transitions import keep
from shared.ledger.transitions.operate import CANCEL
from shared.ledger.transitions.record import LOG
from shared.ledger.transitions.send import CLAIM
from tests.old_days import add_day, add_worker, clean, count, day, name, states
from tests.platform import Platform

TABLES = partitions.PARTITIONED


async def rows_in_kept(platform: Platform) -> list[int]:
    return [await count(platform, partitions.kept_name(table)) for table in TABLES]


async def test_living_tasks_of_old_days_move_to_one_partition_with_their_attempts_and_logs(
    platform: Platform,
) -> None:
    first = await add_day(platform, 50, final=20, alive=2)
    await add_day(platform, 45, final=3)
    second = await add_day(platform, 40, final=4, alive=3)
    result = await clean(platform)
    assert (result.partitions_dropped, result.partitions_kept) == ([name(50), name(45), name(40)], {})
    assert (result.tasks_deleted, result.total_tasks_found) == (27, 32)
    assert await states(platform, 50, 45, 40) == {}
    assert await rows_in_kept(platform) == [5] * 4
    left = await platform.rows("SELECT id FROM task ORDER BY id")
    assert [row["id"] for row in left] == [*sorted(first), *sorted(second)]
    assert await count(platform, "task_attempt") == await count(platform, "task_log") == 5

    third = await add_day(platform, 35, final=1, alive=1)
    result = await clean(platform)
    assert (result.tasks_deleted, result.partitions_dropped) == (1, [name(35)])
    assert await rows_in_kept(platform) == [6] * 4
    assert {row["id"] for row in await platform.rows("SELECT id FROM task")} == {*first, *second, *third}
    assert (await clean(platform)).tasks_deleted == 0


async def test_a_year_of_waiting_tasks_takes_one_partition(platform: Platform) -> None:
    for back in range(31, 366, 30):
        await add_day(platform, back, final=1, alive=1)
    before = len(await platform.rows(partitions.EXISTING))
    await clean(platform)
    assert len(await platform.rows(partitions.EXISTING)) == before - 4 * 12 + 4
    assert await rows_in_kept(platform) == [12] * 4


async def test_kept_tasks_that_ended_are_deleted_once_the_retention_has_passed(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "BATCH", 3)
    ids = await add_day(platform, 50, final=0, alive=9)
    await clean(platform)
    end = (
        "UPDATE task SET status = 'success', send_at = NULL, "
        "completed_at = now() - make_interval(days => {}) WHERE id = ANY({}::uuid[])"
    )
    await platform.rows(end, 31, ids[:7])
    await platform.rows(end, 29, ids[7:8])
    result = await clean(platform)
    assert (result.tasks_deleted, result.partitions_dropped) == (7, [])
    assert {row["id"] for row in await platform.rows("SELECT id FROM task")} == set(ids[7:])
    assert await count(platform, "task_attempt") == await count(platform, "task_log") == 2


async def test_work_on_old_tasks_goes_on_while_they_move(platform: Platform) -> None:
    """While tasks move to the kept partition, every statement must find a task's row at any
    moment.
    """
    worker = await add_worker(platform, 1)
    ids = [task for back in range(41, 50) for task in await add_day(platform, back, final=500, alive=60)]
    claimed, cancelled, waiting = sorted(ids[::3]), sorted(ids[1::3]), sorted(ids[2::3])
    await platform.rows("UPDATE task SET send_at = now() WHERE id = ANY({}::uuid[])", claimed)
    cleaning = asyncio.create_task(clean(platform))

    async def claim(task: UUID) -> bool:
        rows = await platform.rows(CLAIM, worker=worker, id=[task])
        line = {"task_id": task, "claim": 1, "ordinal": 2, "level": "info", "message": "claimed"}
        await platform.rows(LOG, logged_at=[datetime.now(UTC)], **{key: [line[key]] for key in line})
        return len(rows) == 1

    async def cancel(task: UUID) -> bool:
        return [row["status"] for row in await platform.rows(CANCEL, id=task)] == ["revoked"]

    async def look(task: UUID) -> bool:
        parts = [await platform.rows(f"SELECT 1 FROM {t} WHERE {c} = {{}}", task) for t, c in TABLES.items()]
        return [len(part) for part in parts] == [1] * 4

    async def every(work: Callable[[UUID], Awaitable[bool]], tasks: list[UUID]) -> list[bool]:
        return [await work(task) for task in tasks]

    async def look_on() -> list[bool]:
        seen = [await look(waiting[0])]
        while not cleaning.done():
            seen.append(await look(waiting[len(seen) % len(waiting)]))
        return seen

    done = await asyncio.gather(every(claim, claimed), every(cancel, cancelled), look_on())
    result = await cleaning
    assert result.partitions_dropped == [name(back) for back in range(49, 40, -1)]
    assert [all(each) for each in done] == [True, True, True]
    assert len(done[2]) > 9
    left = {row["id"] for row in await platform.rows("SELECT id FROM task WHERE holder = {}", worker)}
    assert left == set(claimed)
    (row,) = await platform.rows("SELECT count(*) AS n FROM task_log WHERE message = 'claimed'")
    assert row["n"] == len(claimed)
    assert {r["id"] for r in await platform.rows("SELECT id FROM task WHERE send_at > now()")} == set(waiting)


async def test_a_run_that_died_after_the_tasks_had_moved_is_finished_by_the_next(platform: Platform) -> None:
    await add_day(platform, 50, final=2, alive=1)
    connection = await platform.database.connect()
    try:
        assert await Kept(connection).take("task", day(50)) == 1
    finally:
        await connection.close()
    assert set(await states(platform, 50)) == {name(50, table) for table in TABLES if table != "task"}
    assert (await clean(platform)).partitions_kept == {}
    assert await states(platform, 50) == {}
    assert await rows_in_kept(platform) == [1] * 4


async def test_an_open_transaction_delays_a_move_without_long_waits(
    platform: Platform, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LOCK_TIMEOUTS_S", (0.05, 0.2))
    monkeypatch.setattr(kept, "PAUSE_S", 0.05)
    (task,) = await add_day(platform, 50, final=2, alive=1)
    reader = await asyncpg.connect(database_url)
    try:
        async with reader.transaction():
            await reader.fetchval("SELECT count(*) FROM task")
            cleaning = asyncio.create_task(clean(platform))
            while not cleaning.done():
                await asyncio.wait_for(platform.task(task), 1)
            result = await cleaning
    finally:
        await reader.close()
    assert result.partitions_kept == {name(50): "an open transaction reads it; the next run tries again"}
    assert set((await states(platform, 50)).values()) == {"attached"}
    assert (await clean(platform)).partitions_dropped == [name(50)]


async def test_a_move_that_takes_too_long_is_undone(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres itself must end a move that takes too long, as when the process freezes in the
    middle of it.
    """
    (task,) = await add_day(platform, 50, final=2, alive=1)
    monkeypatch.setattr(keep, "keep", lambda _table, _day: "SELECT pg_sleep(60)")
    monkeypatch.setattr(kept, "MOVE_TIMEOUT_S", 0.3)
    connection = await platform.database.connect()
    try:
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await Kept(connection).take("task", day(50))
    finally:
        await connection.close()
    assert (await platform.task(task))["status"] == "pending"
    assert set((await states(platform, 50)).values()) == {"attached"}


async def test_a_day_with_too_many_living_tasks_stays_and_holds_up_later_ones_that_have_any(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MAX_ROWS", 2)
    await add_day(platform, 50, final=1, alive=3)
    await add_day(platform, 49, final=1, alive=1)
    await add_day(platform, 48, final=1)
    result = await clean(platform)
    assert result.partitions_dropped == [name(48)]
    assert result.partitions_kept == {
        name(50): "3 rows belong to unfinished tasks, and a move takes at most 2",
        name(49): "an older day has to be dropped first",
    }
    monkeypatch.setattr(kept, "MAX_ROWS", 3)
    assert (await clean(platform)).partitions_dropped == [name(50), name(49)]
    assert await rows_in_kept(platform) == [4] * 4


async def test_a_kept_task_that_was_pending_for_months_runs_at_its_time(platform: Platform) -> None:
    (task,) = await add_day(platform, 50, final=0, alive=1)
    await clean(platform)
    await platform.start_scheduler()
    await platform.start_worker()
    await platform.rows(
        "UPDATE task SET send_at = now() + {}::interval WHERE id = {}", timedelta(seconds=1), task
    )
    assert (await platform.until(task, "success"))["attempt"] == 1
