"""Moves the rows of unfinished tasks out of an old day, so that the day's partitions can be
dropped.

The rows move to the kept partitions `task_kept`, `task_attempt_kept` and `task_log_kept`, which
cover all days before the oldest daily partition. One transaction locks the table and moves the
rows. Other transactions on the table wait for it for a moment and then find the row in its new
place. This wait is far shorter than 4.5 s, after which Postgres cancels a statement of the
services.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime
from uuid import UUID

import asyncpg

from shared.ledger import partitions
from shared.ledger.transitions import keep
from shared.ledger.transitions.delete import DELETE_KEPT

#: How many seconds each try to move rows waits for its locks. Meanwhile, every other transaction on
#: the table has to wait too, so the first tries are short. The last one is longer than
#: `deadlock_timeout` (1 s), after which Postgres cancels an autovacuum that holds such a lock.
LOCK_TIMEOUTS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
PAUSE_S = 1.0
#: Time limit of the move itself, in seconds. If this process freezes in the middle of it, Postgres
#: closes the connection and rolls the move back.
MOVE_TIMEOUT_S = 2.5
#: Maximum number of rows in one move, which takes about a second. A day rarely has more to move:
#: only tasks that are still unfinished after weeks are kept.
MAX_ROWS = 50_000
#: Number of kept tasks that one statement deletes after they have ended.
BATCH = 1_000
#: Reasons why a day is not dropped, as label values of a metric: an open transaction has read the
#: partition, or it has too many unfinished rows to move.
READ, CROWDED = "read", "crowded"


class Stays(Exception):
    """Raised when a partition cannot be dropped in this run. The message says why."""

    def __init__(self, name: str, reason: str, words: str) -> None:
        super().__init__(words)
        self.name = name
        self.reason = reason


class Busy(Stays):
    """Raised when an open transaction uses the partition or another relation that must be
    locked.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, READ, "an open transaction reads it; the next run tries again")


class Kept:
    """The kept partitions, which hold the unfinished tasks of dropped days.

    All statements use the connection of the pruner, which must not be inside a transaction.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def has(self, day: date) -> bool:
        """Return True if tasks of this day are in the kept partition."""
        if not await self._exists("task"):
            return False
        return bool(await self._connection.fetchval(f"SELECT EXISTS ({keep.kept_tasks(day)})"))

    async def take(self, table: str, day: date) -> int:
        """Move the rows of a day's unfinished tasks to the kept partition, and drop the day's
        partition.

        Does this for one table and returns how many rows moved. The day must be the oldest one.
        Raises Stays.
        """
        name = partitions.partition_name(table, day)
        rows = await self._connection.fetchval(keep.count(table, day))
        if rows > MAX_ROWS:
            words = f"{rows:,} rows belong to unfinished tasks, and a move takes at most {MAX_ROWS:,}"
            raise Stays(name, CROWDED, words)
        for timeout_s in LOCK_TIMEOUTS_S:
            try:
                return await self._move(table, day, timeout_s)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(PAUSE_S)
        raise Busy(name)

    async def prune(self, ended_before: datetime) -> int:
        """Delete the kept tasks that ended before `ended_before`, with their attempts and log
        lines.

        Returns how many tasks were deleted.
        """
        after, deleted, gone = UUID(int=0), 0, BATCH
        if not all([await self._exists(table) for table in partitions.PARTITIONED]):
            return 0
        while gone == BATCH:
            values = {"after": after, "ended_before": ended_before, "limit": BATCH}
            gone, last = await self._connection.fetchrow(DELETE_KEPT.sql, *DELETE_KEPT.values(values))
            deleted, after = deleted + gone, last or after
        return deleted

    async def _move(self, table: str, day: date, lock_timeout_s: float) -> int:
        exists = await self._exists(table)
        if exists:
            for statement in partitions.prepare_kept(table, day):
                async with self._patient(lock_timeout_s):
                    await self._connection.execute(statement)
        async with self._patient(lock_timeout_s):
            await self._connection.execute(
                "SET LOCAL enable_seqscan = off; "
                f"SET LOCAL transaction_timeout = '{lock_timeout_s + MOVE_TIMEOUT_S}s'; "
                f"LOCK TABLE ONLY {table} IN ACCESS EXCLUSIVE MODE"
            )
            first = partitions.detach_kept(table) if exists else partitions.create_kept(table, day)
            await self._connection.execute(first)
            status = await self._connection.execute(keep.keep(table, day))
            await self._connection.execute(partitions.drop([partitions.partition_name(table, day)]))
            for statement in partitions.attach_kept(table, day):
                await self._connection.execute(statement)
        return int(status.rpartition(" ")[2])

    @asynccontextmanager
    async def _patient(self, lock_timeout_s: float) -> AsyncIterator[None]:
        """Open a transaction in which each statement waits at most this long for a lock."""
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = '{lock_timeout_s}s'")
            yield

    async def _exists(self, table: str) -> bool:
        kept = partitions.kept_name(table)
        return await self._connection.fetchval("SELECT to_regclass($1)", kept) is not None
