"""Shows other processes that this worker is alive.

The worker's row in Postgres shows that the worker exists. An advisory lock on a separate connection
shows that its process is alive. A heartbeat shows that the process makes progress.
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
#: If the connection that holds the lock does not answer within this many seconds, it is replaced
#: and the lock is taken on a new connection.
LOCK_ANSWERS_S = 2.0

#: Inserts the worker's row. Returns the paused queues, so that the worker knows them before its
#: first fetch.
REGISTER = Statement(f"""
    WITH registered AS (
        INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, protocol, release)
        VALUES (:id, :hostname, :pid, :queues::text[], :threads, :lock_key, :protocol, :release)
        ON CONFLICT (id) DO NOTHING
    )
    SELECT {PAUSED}
""")

#: Updates this worker's heartbeat and returns the decisions of operators. Returns no row if the
#: rescuer has declared this worker dead. The statement does not use the table `task`, because a
#: lock on that table must not make the worker look dead.
HEARTBEAT = Statement(f"""
    UPDATE worker SET beat = beat + 1, heartbeat_at = now(), state = :state, memory_bytes = :memory
    WHERE id = :worker AND dead_at IS NULL RETURNING clock_timestamp() AS now, asked, {PAUSED}
""")

#: Takes the lock in shared mode. If Postgres still has an old session of this worker, that session
#: does not block the new one.
TAKE_LOCK = "SELECT pg_advisory_lock_shared($1)"

STOPPED = Statement("UPDATE worker SET stopped_at = now() WHERE id = :worker")


class Heartbeat:
    """The row, the advisory lock and the heartbeat of one worker process.

    Use it only on the ledger event loop.
    """

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
        """`told` is called each time that decisions of operators were read from Postgres.

        Its arguments are the paused queues and the request to this worker, or None.
        """
        self._worker = worker
        self._database = database
        self._queue_names = queue_names
        self._threads = threads
        self._declared_dead = declared_dead
        self._told = told
        self._process = psutil.Process()
        #: Allows only one heartbeat at a time. Otherwise, an older response could be applied after
        #: a newer one.
        self._beating = asyncio.Lock()
        self._lock_key = secrets.randbits(62)
        self._lock: Connection | None = None
        self._had_lock = False
        self._is_quiet = False
        #: Set by the main thread and never reset. It is not part of the state that heartbeats
        #: change, so that threads do not overwrite each other's values.
        self._is_draining = False

    @property
    def state(self) -> str:
        if self._is_draining:
            return "draining"
        return "quiet" if self._is_quiet else "running"

    def drain(self) -> None:
        """Let every later heartbeat report that the worker is draining. Called from any thread."""
        self._is_draining = True

    async def register(self) -> None:
        """Take the advisory lock, then insert the worker's row.

        A row whose lock is free would look like that of a dead worker.
        """
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
        """Mark the worker as stopped, after a drain that left nothing for the rescuer."""
        await self._database.run(STOPPED, worker=self._worker)

    async def beat(self) -> None:
        """Send a heartbeat with the worker's current state, and apply the decisions of
        operators.
        """
        async with self._beating:
            written = None
            while written != self.state:
                written = self.state
                if not await self._beat(written):
                    return

    async def _beat(self, state: str) -> bool:
        """Send one heartbeat. Returns False if this worker was declared dead."""
        memory = self._process.memory_info().rss
        rows = await self._database.run(HEARTBEAT, worker=self._worker, state=state, memory=memory)
        if not rows:
            self._declared_dead()
            return False
        self._database.note_time(rows[0]["now"])
        self._is_quiet = rows[0]["asked"] == "quiet"
        self._told(rows[0]["paused"], rows[0]["asked"])
        return True

    async def hold_lock(self) -> None:
        """Take the advisory lock, unless Postgres confirms that this process holds it.

        This runs in a loop of its own, so that it is not delayed by a heartbeat that waits for a
        row lock.
        """
        if self._lock is not None and await _answers(self._lock):
            return
        self._lock = None
        async with self._database.translated(), timeout(STATEMENT_TIMEOUT_S):
            # `_lock` is set only once the lock is held. A connection without the lock must not
            # count as holding it.
            self._lock = await self._locked()
        if self._had_lock:
            log.warning(
                "the worker lost the connection of its advisory lock and has taken the lock again",
                extra={"worker_id": str(self._worker)},
            )
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
    """Return True if the server answers on this connection.

    Otherwise, or if the connection is closed, another server may be the primary now.
    """
    if connection.is_closed():
        return False
    try:
        async with timeout(LOCK_ANSWERS_S):
            await connection.execute("SELECT 1")
    # asyncio's time-out error is an OSError
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        connection.terminate()
        return False
    return True
