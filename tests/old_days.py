"""Helpers for tests of the cleanup: they create partitions of past days with tasks, and run the
cleanup that removes them.
"""

import asyncio
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from services.scheduler.cleaner import Cleaner
from services.worker.maintenance.cleanup import cleanup_old_tasks
from services.worker.maintenance.retention import Retention
from shared.contracts.maintenance import CleanupOldTasks, OldTasksCleaned
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.roles import SCHEDULER
from shared.testing import run_inline
from tests.platform import Platform
from tests.roles import as_role

LOOK_S = 0.02
TODAY = datetime.now(UTC).date()


def day(back: int) -> date:
    return TODAY - timedelta(days=back)


def name(back: int, table: str = "task") -> str:
    return partitions.partition_name(table, day(back))


async def add_day(platform: Platform, back: int, *, final: int, alive: int = 0) -> list[UUID]:
    """Create the partitions of a past day, with tasks that each have an attempt, a log line and a
    failure row.

    Returns the ids of the tasks that have not ended.
    """
    for table in partitions.PARTITIONED:
        for statement in partitions.create(table, day(back)):
            await platform.rows(statement)
    noon = datetime.combine(day(back), datetime.min.time(), UTC) + timedelta(hours=12)
    ids = [uuid7(noon) for _ in range(final + alive)]
    ended = [number < final for number in range(final + alive)]
    await platform.rows(
        """
        INSERT INTO task (id, name, type, queue, params, status, send_at, completed_at)
        SELECT g.id, 'sample.instant', 'sample', 'default', jsonb_build_object(),
               CASE WHEN g.ended THEN 'success' ELSE 'pending' END,
               CASE WHEN NOT g.ended THEN now() + interval '1 day' END, CASE WHEN g.ended THEN now() END
        FROM unnest({}::uuid[], {}::boolean[]) AS g(id, ended)
        """,
        ids,
        ended,
    )
    await platform.rows(
        "INSERT INTO task_attempt (task_id, claim, attempt, ended_at, outcome) "
        "SELECT unnest({}::uuid[]), 1, 1, now(), 'retry'",
        ids,
    )
    await platform.rows(
        "INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message) "
        "SELECT unnest({}::uuid[]), 1, 1, now(), 'info', 'said'",
        ids,
    )
    await platform.rows(
        "INSERT INTO task_failure (task_id, name, queue, failed_at) "
        "SELECT unnest({}::uuid[]), 'sample.instant', 'default', now()",
        ids,
    )
    return ids[final:]


async def states(platform: Platform, *backs: int) -> dict[str, str]:
    """State of each partition of these past days, by the partition's name."""
    rows = await platform.rows(partitions.STATES)
    wanted = {name(back, table) for back in backs for table in partitions.PARTITIONED}
    return {row["name"]: row["state"] for row in rows if row["name"] in wanted}


async def clean(platform: Platform, days_old: int = 30) -> OldTasksCleaned:
    """Run the cleanup task and, at the same time, the part of the cleanup that the leading
    scheduler does, with the scheduler's role.
    """
    params = CleanupOldTasks(days_old=days_old)
    leading = asyncio.create_task(_lead(platform))
    gateways: dict[type, Any] = {Retention: Retention(timedelta(days=400))}
    running = asyncio.create_task(
        run_inline(cleanup_old_tasks, params, gateways=gateways, database=platform.database)
    )
    try:
        await asyncio.wait([leading, running], return_when=asyncio.FIRST_COMPLETED)
        if leading.done():
            leading.result()
        run = await running
    finally:
        running.cancel()
        leading.cancel()
        await asyncio.wait([leading, running])
    assert run.result is not None
    return run.result


async def _lead(platform: Platform) -> None:
    database = Database.for_service(as_role(platform.database_url, SCHEDULER), "scheduler", by_index=True)
    await database.open(size=2)
    try:
        cleaner = Cleaner(database, lambda: None)
        while True:
            await cleaner.run_once()
            await asyncio.sleep(LOOK_S)
    finally:
        await database.close()


async def count(platform: Platform, table: str) -> int:
    (row,) = await platform.rows(f"SELECT count(*) AS n FROM {table}")
    return int(row["n"])


async def add_worker(
    platform: Platform, lock: int, *, dead_days: int | None = None, stopped_days: int | None = None
) -> UUID:
    (row,) = await platform.rows(
        "INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, dead_at, stopped_at) "
        "VALUES (uuidv7(), 'here', 1, ARRAY['default'], 1, {}, now() - make_interval(days => {}), "
        "now() - make_interval(days => {})) RETURNING id",
        lock,
        dead_days,
        stopped_days,
    )
    worker: UUID = row["id"]
    return worker
