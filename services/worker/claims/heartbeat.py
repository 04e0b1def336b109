"""Shows the other processes that this worker lives.

Its row says that it exists, an advisory lock on a connection of its own says that its process lives, and its
heartbeat says that it works.
"""

import asyncio
import logging
import os
import platform
import secrets
from collections.abc import Callable, Collection, Sequence
from uuid import UUID

import asyncpg
import psutil

from shared.ledger.database import Database
from shared.ledger.protocol import PROTOCOL
from shared.ledger.queue_control import PAUSED
from shared.ledger.session import Connection
from shared.ledger.statement import Statement
from shared.ledger.time_limit import STATEMENT_TIMEOUT_S, timeout
from shared.release import RELEASE

log = logging.getLogger(__name__)

HEARTBEAT_S = 1.0
#: A connection that does not answer for this long proves no life; the lock is taken on a new one.
LOCK_ANSWERS_S = 2.0

#: Returns the paused queues: a worker knows them before its first fetch.
REGISTER = Statement(f"""
    WITH registered AS (
        INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol, release)
        VALUES (:id, :hostname, :pid, :queues::text[], :threads, :lock_key, :protocol, :release)
        ON CONFLICT (id) DO NOTHING
    )
    SELECT {PAUSED}
""")

#: Returns what operators have decided, or nothing when the rescuer has declared this worker dead. It does not
#: touch `task`, because a lock on it must not look like a death.
HEARTBEAT = Statement(f"""
    UPDATE worker SET beat = beat + 1, heartbeat_at = now(), state = :state, memory_bytes = :memory
    WHERE id = :worker AND dead_at IS NULL RETURNING clock_timestamp() AS now, asked, {PAUSED}
""")

#: Shared, so that a former session of this worker that Postgres takes for alive keeps no other one waiting.
TAKE_LOCK = "SELECT pg_advisory_lock_shared($1)"

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
        told: Callable[[Collection[str], str | None], None],
    ) -> None:
        """`told` gets the paused queues and what this worker is asked to do, whenever the ledger is read."""
        self._worker = worker
        self._database = database
        self._queue_names = queue_names
        self._threads = threads
        self._declared_dead = declared_dead
        self._told = told
        self._process = psutil.Process()
        #: One at a time, so that the answer that is followed last is the newest.
        self._beating = asyncio.Lock()
        self._lock_key = secrets.randbits(62)
        self._lock: Connection | None = None
        self._had_lock = False
        self.state = "running"

    async def register(self) -> None:
        """Take the lock, then write the row: a row without a lock would look like a death."""
        await self.hold_lock()
        (answer,) = await self._database.run(
            REGISTER,
            id=self._worker,
            hostname=platform.node(),
            pid=os.getpid(),
            queues=list(self._queue_names),
            threads=self._threads,
            lock_key=self._lock_key,
            protocol=PROTOCOL,
            release=RELEASE,
        )
        self._told(answer["paused"], None)

    async def deregister(self) -> None:
        """After a drain: nothing of this worker is left to rescue."""
        await self._database.run(STOPPED, worker=self._worker)

    async def beat(self) -> None:
        """Renew the heartbeat, and follow what operators have decided."""
        async with self._beating:
            values = {"state": self.state, "memory": self._process.memory_info().rss}
            rows = await self._database.run(HEARTBEAT, worker=self._worker, **values)
            if not rows:
                self._declared_dead()
                return
            self._database.note_time(rows[0]["now"])
            if self.state != "draining":
                self.state = "quiet" if rows[0]["asked"] == "quiet" else "running"
            self._told(rows[0]["paused"], rows[0]["asked"])

    async def hold_lock(self) -> None:
        """Take the advisory lock, unless Postgres shows that this process holds it.

        In a loop of its own, so that a heartbeat that waits for a lock does not keep it from being taken.
        """
        if self._lock is not None and await _answers(self._lock):
            return
        self._lock = None
        async with self._database.translated(), timeout(STATEMENT_TIMEOUT_S):
            # Only with the lock: a connection without it would count as alive and prove nothing.
            self._lock = await self._locked()
        if self._had_lock:
            log.warning("worker %s has taken its advisory lock again: its connection had ended", self._worker)
        self._had_lock = True

    async def _locked(self) -> Connection:
        connection = await self._database.connect(part="worker-lock")
        try:
            await connection.execute(TAKE_LOCK, self._lock_key)
        except BaseException:
            connection.terminate()
            raise
        return connection


async def _answers(connection: Connection) -> bool:
    """False when the connection is gone, or its server has fallen silent: another one may be the primary."""
    if connection.is_closed():
        return False
    try:
        async with timeout(LOCK_ANSWERS_S):
            await connection.execute("SELECT 1")
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):  # a time-out is an OSError
        connection.terminate()
        return False
    return True
