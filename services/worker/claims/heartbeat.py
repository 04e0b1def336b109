"""Shows the other processes that this worker lives.

Its row says that it exists, an advisory lock on a connection of its own says that its process lives, and its
heartbeat says that it works.
"""

import logging
import os
import platform
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from shared.ledger.database import STATEMENT_TIMEOUT_S, Database, timeout
from shared.ledger.statement import Statement

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0

REGISTER = Statement("""
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (:id, :hostname, :pid, :queues::text[], :threads, :lock_key)
    ON CONFLICT (id) DO NOTHING
""")

#: A null `now` means that the rescuer has declared this worker dead.
HEARTBEAT = Statement("""
    WITH beat AS (
        UPDATE worker SET beat = beat + 1, heartbeat_at = now(), state = :state
        WHERE id = :worker AND dead_at IS NULL RETURNING clock_timestamp() AS now
    )
    SELECT (SELECT now FROM beat) AS now,
        ARRAY(
            SELECT (id, cancel_requested_at) FROM task
            WHERE holder = :worker AND cancel_requested_at IS NOT NULL
        ) AS cancelled
""")

STOPPED = Statement("UPDATE worker SET stopped_at = now() WHERE id = :worker")


class Heartbeat:
    """Row, lock and heartbeat of one worker process. Runs on the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        database: Database,
        queue_names: Sequence[str],
        threads: int,
        *,
        declared_dead: Callable[[], None],
        cancel: Callable[[UUID, datetime | None], None],
    ) -> None:
        """`declared_dead` and `cancel` are called with what a heartbeat brings."""
        self._worker = worker
        self._database = database
        self._queue_names = queue_names
        self._threads = threads
        self._declared_dead = declared_dead
        self._cancel = cancel
        self._lock_key = secrets.randbits(62)
        self._lock: asyncpg.Connection | None = None
        self.state = "running"

    async def register(self) -> None:
        """Take the lock, then write the row: a row without a lock would look like a death."""
        await self._take_lock()
        await self._database.run(
            REGISTER,
            id=self._worker,
            hostname=platform.node(),
            pid=os.getpid(),
            queues=list(self._queue_names),
            threads=self._threads,
            lock_key=self._lock_key,
        )

    async def deregister(self) -> None:
        """After a drain: nothing of this worker is left to rescue."""
        await self._database.run(STOPPED, worker=self._worker)

    async def beat(self) -> None:
        """Renew heartbeat and lock; also learns for certain what is to be canceled."""
        # First: after a restart of Postgres this alone says that the process lives.
        await self._beat()
        await self._take_lock()

    async def _beat(self) -> None:
        (row,) = await self._database.run(HEARTBEAT, state=self.state, worker=self._worker)
        if row["now"] is None:
            self._declared_dead()
            return
        self._database.note_time(row["now"])
        for task_id, requested_at in row["cancelled"]:
            self._cancel(UUID(int=task_id.int), requested_at)

    async def _take_lock(self) -> None:
        if self._lock is not None and not self._lock.is_closed():
            return
        async with self._database.translated(), timeout(STATEMENT_TIMEOUT_S):
            connection = await self._database.connect(application="worker-lock")
            try:
                await connection.execute("SELECT pg_advisory_lock($1)", self._lock_key)
            except BaseException:
                connection.terminate()
                raise
        # Only now: a connection without the lock would count as alive and prove nothing.
        self._lock = connection
