"""Moves what belongs to living tasks out of an old day, whose partitions can go then.

The rows move to `task_kept`, `task_attempt_kept` and `task_log_kept`, which cover all days below the oldest.
One transaction does it, with the table to itself: whoever claims, records, cancels or reads meanwhile waits
for a moment, and then finds the row in its new place. Each wait is bounded, well below the 4.5 s after which
Postgres cancels a statement of the services.
"""

import asyncio
from datetime import date, datetime
from uuid import UUID

import asyncpg

from shared.ledger import partitions
from shared.ledger.transitions import keep
from shared.ledger.transitions.delete import DELETE_KEPT

#: How long each try waits for its locks, with everybody else behind it. The last one is longer than
#: `deadlock_timeout` (1 s), after which Postgres cancels an autovacuum that is in the way.
LOCK_TIMEOUTS_S = (0.1, 0.2, 0.4, 0.8, 1.6)
PAUSE_S = 1.0
#: How long a move may take. A process that freezes in the middle loses its connection, and all is as before.
MOVE_TIMEOUT_S = 2.5
#: Rows that are copied in about a second. No day is expected to have more: they are what still waits weeks
#: later.
MAX_ROWS = 50_000
#: Kept rows that are deleted by one statement.
BATCH = 1_000
#: Reasons for which a day stays, as the metric calls them.
READ, CROWDED = "read", "crowded"


class Stays(Exception):
    """A partition cannot go in this run; the message says why."""

    def __init__(self, name: str, reason: str, words: str) -> None:
        super().__init__(words)
        self.name = name
        self.reason = reason


class Busy(Stays):
    """A transaction that is still open has read the partition, or something else that must be locked."""

    def __init__(self, name: str) -> None:
        super().__init__(name, READ, "an open transaction reads it; the next run goes on")


class Kept:
    """The partitions that stay, over the connection of the pruner, outside any transaction."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def has(self, day: date) -> bool:
        """Whether tasks of this day were kept."""
        if not await self._exists("task"):
            return False
        return bool(await self._connection.fetchval(f"SELECT EXISTS ({keep.kept_tasks(day)})"))

    async def take(self, table: str, day: date) -> int:
        """Move the rows of a day's living tasks here and drop its partition. Returns how many moved.

        No older day may be left. Raises Stays.
        """
        name = partitions.partition_name(table, day)
        rows = await self._connection.fetchval(keep.count(table, day))
        if rows > MAX_ROWS:
            words = f"{rows:,} of its rows belong to living tasks, and {MAX_ROWS:,} can be moved at once"
            raise Stays(name, CROWDED, words)
        for timeout_s in LOCK_TIMEOUTS_S:
            try:
                return await self._move(table, day, timeout_s)
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
                await asyncio.sleep(PAUSE_S)
        raise Busy(name)

    async def prune(self, ended_before: datetime) -> int:
        """Delete the tasks that have ended since they were kept, with what belongs to them."""
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
                await self._alone(statement, lock_timeout_s)
        async with self._connection.transaction():
            await self._connection.execute(
                f"SET LOCAL lock_timeout = '{lock_timeout_s}s'; SET LOCAL enable_seqscan = off; "
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

    async def _alone(self, statement: str, lock_timeout_s: float) -> None:
        async with self._connection.transaction():
            await self._connection.execute(f"SET LOCAL lock_timeout = '{lock_timeout_s}s'")
            await self._connection.execute(statement)

    async def _exists(self, table: str) -> bool:
        kept = partitions.kept_name(table)
        return await self._connection.fetchval("SELECT to_regclass($1)", kept) is not None
