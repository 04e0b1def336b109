"""Tests of the cleanup of the platform's own tables: old days of tasks, idempotency keys, firings
and workers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from services.scheduler import kept, pruner
from services.worker.maintenance import cleanup
from services.worker.maintenance.cleanup import cleanup_old_tasks
from services.worker.maintenance.retention import Retention
from shared.contracts import catalogue
from shared.contracts.maintenance import (
    CLEANUP_OLD_TASKS,
    CleanupOldTasks,
)
from shared.errors import ExpectedError
from shared.ledger import partitions
from shared.ledger.cleanup import LOCK
from shared.testing import run_inline
from tests.eventually import eventually
from tests.installed import INSTALLED
from tests.old_days import add_day, add_worker, clean, count, day, name, states
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing


@pytest.fixture
async def reader(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection for a transaction that reads tasks and then stays open until the test
    ends it.
    """
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the lock time-outs of the cleanup, so that it gives up soon."""
    monkeypatch.setattr(pruner, "LOCK_TIMEOUT_S", 0.2)
    monkeypatch.setattr(pruner, "TRIES", 2)
    monkeypatch.setattr(pruner, "PAUSE_S", 0.05)
    monkeypatch.setattr(kept, "LOCK_TIMEOUTS_S", (0.05, 0.2))
    monkeypatch.setattr(kept, "PAUSE_S", 0.05)


async def test_whole_days_before_the_cutoff_are_dropped_with_their_attempts_and_logs(
    platform: Platform,
) -> None:
    for back, tasks in ((30, 3), (31, 4), (32, 5), (400, 6)):
        await add_day(platform, back, final=tasks)
    (young,) = await platform.submit(INSTANT, Nothing())
    result = await clean(platform)
    assert result.success
    assert (result.tasks_deleted, result.total_tasks_found) == (15, 15)
    assert (result.partitions_dropped, result.partitions_kept) == ([name(400), name(32), name(31)], {})
    assert timedelta(days=30) <= result.cleanup_completed_at - result.cutoff_date < timedelta(days=31)
    assert set(await states(platform, 30, 31, 32, 400)) == {
        name(30, table) for table in partitions.PARTITIONED
    }
    assert [await count(platform, table) for table in partitions.PARTITIONED] == [4, 3, 3, 3]
    assert (await platform.task(young))["status"] == "pending"


async def test_with_the_default_retention_fewer_than_forty_partitions_of_a_table_remain(
    platform: Platform,
) -> None:
    for back in range(2, 40):
        for table in partitions.PARTITIONED:
            for statement in partitions.create(table, day(back)):
                await platform.rows(statement)
    await clean(platform)
    rows = await platform.rows("SELECT inhparent::regclass::text AS parent FROM pg_inherits")
    parents = [row["parent"] for row in rows]
    for table in partitions.PARTITIONED:
        assert 30 + partitions.DAYS_AHEAD < parents.count(table) < 40


async def test_an_open_reader_only_delays_the_removal(
    platform: Platform, reader: asyncpg.Connection, hasty: None
) -> None:
    await add_day(platform, 40, final=3)
    await add_day(platform, 39, final=2)
    transaction = reader.transaction(isolation="repeatable_read")
    await transaction.start()
    assert await reader.fetchval("SELECT count(*) FROM task") == 5

    cleaning = asyncio.create_task(clean(platform))
    submitted = 0
    while not cleaning.done():
        await asyncio.wait_for(platform.submit(INSTANT, Nothing()), 2)
        submitted += 1
    result = await cleaning

    assert submitted > 1
    assert result.partitions_kept == {name(40): "an open transaction reads it; the next run tries again"}
    assert result.partitions_dropped == []
    assert (await states(platform, 40))[name(40)] == "pending"
    assert await reader.fetchval("SELECT count(*) FROM task") == 5
    await transaction.rollback()

    result = await clean(platform)
    assert (result.partitions_dropped, result.partitions_kept) == ([name(40), name(39)], {})
    assert result.tasks_deleted == 5
    assert await states(platform, 39, 40) == {}
    assert await count(platform, "task") == submitted


@pytest.mark.parametrize(
    "done",
    [
        ["ALTER TABLE task DETACH PARTITION {task}"],
        ["ALTER TABLE task DETACH PARTITION {task}", "DROP TABLE {task}"],
        [
            "DROP TABLE {task}",
            "ALTER TABLE task_attempt DETACH PARTITION {task_attempt}",
        ],
        [f"ALTER TABLE {table} DETACH PARTITION {{{table}}}" for table in partitions.PARTITIONED],
    ],
    ids=["detached", "tasks dropped", "attempts detached", "all detached"],
)
async def test_an_interrupted_run_is_finished_by_the_next(platform: Platform, done: Sequence[str]) -> None:
    await add_day(platform, 40, final=3)
    for statement in done:
        await platform.rows(statement.format(**{table: name(40, table) for table in partitions.PARTITIONED}))
    result = await clean(platform)
    assert await states(platform, 40) == {}
    assert result.partitions_kept == {}
    assert result.partitions_dropped == ([] if any("DROP" in s for s in done) else [name(40)])


async def leave_half_detached(platform: Platform, reader: asyncpg.Connection, back: int) -> None:
    """Leave the partition of this day half detached: an open transaction that has read it blocks
    the cleanup in the middle.
    """
    await add_day(platform, back, final=3)
    transaction = reader.transaction(isolation="repeatable_read")
    await transaction.start()
    await reader.fetchval("SELECT count(*) FROM task")
    await clean(platform)
    await transaction.rollback()
    assert (await states(platform, back))[name(back)] == "pending"


async def test_a_half_detached_day_is_dropped_before_an_older_day_that_it_blocks(
    platform: Platform, reader: asyncpg.Connection, hasty: None
) -> None:
    await leave_half_detached(platform, reader, 40)
    await add_day(platform, 60, final=2)
    result = await clean(platform)
    assert result.partitions_dropped == [name(40), name(60)]


REVIVE = """
    UPDATE {} SET status = 'pending', send_at = now() + interval '1 day', completed_at = NULL
    WHERE id = (SELECT id FROM {} ORDER BY id LIMIT 1)
"""


async def test_a_task_that_is_retried_while_its_day_is_detached_gets_its_place_back(
    platform: Platform, reader: asyncpg.Connection
) -> None:
    await add_day(platform, 40, final=3)
    async with reader.transaction():
        await reader.execute(REVIVE.format("task", "task"))
        cleaning = asyncio.create_task(clean(platform))

        async def half_detached() -> bool:
            return (await states(platform, 40))[name(40)] == "pending"

        await eventually(half_detached)
    result = await cleaning
    assert (result.partitions_dropped, result.tasks_deleted) == ([name(40)], 2)
    assert [row["status"] for row in await platform.rows("SELECT status FROM task")] == ["pending"]


async def test_an_open_task_in_a_half_detached_day_gets_its_place_back(
    platform: Platform, reader: asyncpg.Connection, hasty: None
) -> None:
    await leave_half_detached(platform, reader, 40)
    await platform.rows(REVIVE.format(name(40), name(40)))
    assert not await platform.rows("SELECT 1 FROM task")
    result = await clean(platform)
    assert result.partitions_dropped == [name(40)]
    assert len(await platform.rows("SELECT 1 FROM task")) == 1


async def test_a_cleanup_waits_for_another_one_and_is_retried_after_a_while(
    platform: Platform, reader: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_day(platform, 40, final=3)
    await reader.fetchval("SELECT pg_advisory_lock($1)", LOCK)
    monkeypatch.setattr(cleanup, "MAX_WAIT_S", 0.5)
    with pytest.raises(ExpectedError, match="no scheduler has worked on this cleanup"):
        await clean(platform)
    assert (await states(platform, 40))[name(40)] == "attached"
    assert await count(platform, "cleanup_request") == 0


async def test_a_canceled_cleanup_stops_between_two_days_and_reports_it(platform: Platform) -> None:
    await add_day(platform, 40, final=3)
    run = await run_inline(
        cleanup_old_tasks,
        CleanupOldTasks(),
        gateways={Retention: Retention(timedelta(days=400))},
        cancelled=True,
        database=platform.database,
    )
    assert run.result is not None
    assert (run.result.success, run.result.partitions_dropped) == (False, [])
    assert (await states(platform, 40))[name(40)] == "attached"


async def test_old_keys_firings_and_workers_without_tasks_are_deleted(platform: Platform) -> None:
    (parent,) = await platform.submit(INSTANT, Nothing())
    keys = [
        ("owner:1", "old", 25),
        ("owner:1", "new", 23),
        (f"task:{parent}", "#1", 25),
        (f"task:{uuid4()}", "#1", 25),
    ]
    for scope, key, hours in keys:
        await platform.rows(
            "INSERT INTO submission_key (scope, key, task_ids, created_at) "
            "VALUES ({}, {}, ARRAY[uuidv7()], now() - make_interval(hours => {}))",
            scope,
            key,
            hours,
        )
    for days in (29, 31):
        await platform.rows(
            "INSERT INTO schedule_firing (schedule, fire_time, outcome, fired_at) "
            "SELECT 's', t, 'failed', t FROM (SELECT now() - make_interval(days => {})) AS g(t)",
            days,
        )
    attempt = await add_worker(platform, 1, dead_days=8)
    await platform.rows("UPDATE task SET holder = {}, sent_at = NULL, send_at = NULL", attempt)
    for lock, ages in ((2, {"dead_days": 8}), (3, {"stopped_days": 8}), (4, {"stopped_days": 6}), (5, {})):
        await add_worker(platform, lock, **ages)

    await clean(platform)

    left = await platform.rows("SELECT scope, key FROM submission_key ORDER BY key")
    assert [(row["scope"], row["key"]) for row in left] == [(f"task:{parent}", "#1"), ("owner:1", "new")]
    assert await count(platform, "schedule_firing") == 1
    workers = await platform.rows("SELECT lock_key FROM worker ORDER BY lock_key")
    assert [row["lock_key"] for row in workers] == [1, 4, 5]


async def test_both_tasks_are_declared_and_a_worker_runs_what_the_scheduler_fires(platform: Platform) -> None:
    await add_day(platform, 40, final=3)
    await platform.start_scheduler()
    await platform.start_worker()
    daily = "maintenance.cleanup_old_tasks.daily"
    declared = {schedule.name for _, schedule in catalogue.load(INSTALLED).schedules}
    assert declared >= {daily, "maintenance.cleanup_expired_refresh_tokens.hourly"}

    async def stored() -> bool:
        return len(await platform.rows("SELECT 1 FROM schedule WHERE next_fire_time > now()")) == len(
            declared
        )

    await eventually(stored)
    await platform.rows(
        "UPDATE schedule SET kind = 'interval', expression = '1 s', starts_at = date_trunc('second', now()), "
        "next_fire_time = date_trunc('second', now()) + interval '1 s' WHERE name = {}",
        daily,
    )

    async def ended() -> list[dict[str, Any]]:
        return await platform.rows(
            "SELECT * FROM task WHERE schedule = {} AND status = 'success' ORDER BY id LIMIT 1", daily
        )

    (row,) = await eventually(ended, 60)
    assert row["name"] == CLEANUP_OLD_TASKS.name
    result = CLEANUP_OLD_TASKS.result(**json.loads(row["result"]))
    assert (result.partitions_dropped, result.tasks_deleted) == ([name(40)], 3)


async def test_the_audit_log_is_kept_for_the_time_in_its_setting(platform: Platform) -> None:
    """How long audit rows are kept follows from a setting alone.

    The parameters of the cleanup task cannot shorten it.
    """
    for days in (0, 9, 11, 300):
        await platform.rows(
            "INSERT INTO audit (id, action) VALUES (uuidv7(make_interval(days => {})), {})", -days, str(days)
        )
    await platform.start_scheduler()
    await platform.start_worker(OFTEN_AUDIT_RETENTION=str(10 * 86_400))
    (cleanup,) = await platform.submit(CLEANUP_OLD_TASKS, CleanupOldTasks(days_old=1))
    await platform.until(cleanup, "success")
    left = await platform.rows("SELECT action FROM audit ORDER BY id DESC")
    assert [row["action"] for row in left] == ["0", "9"]
