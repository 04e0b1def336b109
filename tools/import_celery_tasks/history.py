"""Writes old rows into the ledger as final tasks, in the daily partitions of their creation time."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.ledger import partitions
from tools.import_celery_tasks.old_rows import OldTask

#: First part of the names of imported tasks. No contract uses it, so an imported row never looks
#: like a task of this system.
AREA = "celery"
#: Lock time-out in seconds. It is short because a DDL statement that waits for a lock blocks every
#: claim behind it.
LOCK_TIMEOUT_S = 2

_COLUMNS = """
    id, name, type, queue, priority, status, params, result, error_message, error_traceback, progress_current,
    progress_total, progress_message, attempt, failures, owner, created_at, started_at, completed_at,
    execution_time_seconds
"""
#: Inserts tasks, and a failure row for each failed one. $1: the tasks as a JSON array. Returns the
#: ids of those that were not stored before.
INSERT = f"""
    WITH stored AS (
        INSERT INTO task ({_COLUMNS}) SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::task, $1::jsonb)
        ON CONFLICT (id) DO NOTHING RETURNING id, name, queue, owner, status, completed_at
    ), failures AS (
        INSERT INTO task_failure (task_id, name, queue, owner, failed_at)
        SELECT id, name, queue, owner, completed_at FROM stored WHERE status = 'failure'
        ON CONFLICT DO NOTHING
    )
    SELECT id FROM stored
"""


class History:
    """The import's access to the ledger. Without `apply` it only reads."""

    def __init__(self, ledger: asyncpg.Connection, *, keep_days: int, keep_owners: bool, apply: bool) -> None:
        self._ledger = ledger
        self._keep_owners = keep_owners
        self._apply = apply
        self._oldest = datetime.now(UTC).date() - timedelta(days=keep_days)
        self._partitions: set[str] = set()
        #: For each partitioned table with a kept partition: the id from which on rows go to daily
        #: partitions. Rows with lower ids go to the kept partition.
        self._kept: dict[str, UUID] = {}

    async def load_partitions(self) -> None:
        self._partitions = {row["name"] for row in await self._ledger.fetch(partitions.EXISTING)}
        self._kept = {row["name"]: row["low"] for row in await self._ledger.fetch(partitions.KEPT)}

    def is_too_old(self, task: OldTask) -> bool:
        """Whether the task is so old that the daily cleanup would soon remove its row."""
        return _day(task) < self._oldest

    async def present(self, tasks: Sequence[OldTask]) -> set[UUID]:
        """Ids of those of these tasks that are in the ledger already."""
        rows = await self._ledger.fetch("SELECT id FROM task WHERE id = ANY($1)", [t.id for t in tasks])
        return {row["id"] for row in rows}

    async def store(self, tasks: Sequence[OldTask]) -> int:
        """Store finished tasks. Returns how many of them were not stored before."""
        return await self._insert(tasks, [self._row(task) for task in tasks])

    async def close(self, task: OldTask, continued_as: UUID) -> None:
        """Store an unfinished task as revoked: a new task continues it.

        The row also prevents a later run of the import from submitting the task again.
        """
        note = f"continued as task {continued_as}"
        now = datetime.now(UTC).isoformat()
        changed = {"status": "revoked", "completed_at": now, "error_message": note, "failures": 0}
        await self._insert([task], [self._row(task) | changed])

    async def _insert(self, tasks: Sequence[OldTask], rows: Sequence[dict[str, Any]]) -> int:
        if not self._apply:
            return len({task.id for task in tasks} - await self.present(tasks))
        for day in sorted({_day(task) for task in tasks}):
            await self._ensure(day)
        return len(await self._ledger.fetch(INSERT, json.dumps(rows, allow_nan=False)))

    async def _ensure(self, day: date) -> None:
        """Create the day's partitions if they are missing. Raises LockNotAvailableError.

        Days that the cleanup has dropped need none if there is a kept partition: their rows go
        there.
        """
        for table in partitions.PARTITIONED:
            name = partitions.partition_name(table, day)
            is_kept = table in self._kept and partitions.floor_id(day) < self._kept[table]
            if is_kept or name in self._partitions:
                continue
            async with self._ledger.transaction():
                await self._ledger.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                for statement in partitions.create(table, day):
                    await self._ledger.execute(statement)
            self._partitions.add(name)

    def _row(self, task: OldTask) -> dict[str, Any]:
        ended = task.completed_at or task.started_at or task.created_at
        return {
            "id": str(task.id),
            "name": f"{AREA}.{re.sub(r'[^a-z0-9_]', '_', task.function.lower())}",
            "type": task.task_type,
            "queue": task.queue_name,
            "priority": task.priority,
            "status": task.status,
            "params": {
                "task_id": task.task_id,
                "task_name": task.task_name,
                "args": task.task_args,
                "kwargs": task.task_kwargs,
            },
            "result": task.result,
            "error_message": task.error_message,
            "error_traceback": task.traceback,
            "progress_current": task.progress_current,
            "progress_total": task.progress_total,
            "progress_message": task.progress_message,
            "attempt": 0 if task.started_at is None else 1,
            "failures": 1 if task.status == "failure" else 0,
            "owner": task.user_id if self._keep_owners else None,
            "created_at": task.created_at.isoformat(),
            "started_at": task.started_at and task.started_at.isoformat(),
            "completed_at": ended.isoformat(),
            "execution_time_seconds": task.execution_time_seconds,
        }


def _day(task: OldTask) -> date:
    return task.created_at.astimezone(UTC).date()
