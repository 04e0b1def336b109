"""Removes whole days of tasks whose time is over: their partitions go, and only then what belongs to them.

Every step may be the last one of a run: what is found half done is taken up by the next run.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

import asyncpg

from shared.contracts.context import Sql
from shared.ledger import partitions
from shared.ledger.transitions.delete import DELETE_FINAL
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: A waiting DDL statement stops what comes behind it, so it gives up soon and is tried again.
LOCK_TIMEOUT_S = 2
TRIES = 5
PAUSE_S = 1.0
#: Rows per statement where they are deleted one by one.
BATCH = 1_000

#: Reasons for which a day stays, as the metric calls them.
UNFINISHED, READ = "unfinished", "read"

#: What goes by its age, in batches. A child's key outlives its parent, whose rerun would submit it twice.
#: values: limit.
AGED = {
    "submission_key": """
        DELETE FROM submission_key WHERE ctid IN (
            SELECT k.ctid FROM submission_key AS k
            WHERE k.created_at < now() - interval '24 hours' AND NOT EXISTS (
                SELECT 1 FROM task AS t
                WHERE t.id = CASE WHEN k.scope LIKE 'task:%' THEN substr(k.scope, 6)::uuid END
                  AND num_nonnulls(t.send_at, t.sent_at, t.holder) > 0
            ) LIMIT {}
        ) RETURNING 1
    """,
    "schedule_firing": """
        DELETE FROM schedule_firing WHERE ctid IN (
            SELECT ctid FROM schedule_firing WHERE fired_at < now() - interval '30 days' LIMIT {}
        ) RETURNING 1
    """,
    "worker": """
        DELETE FROM worker WHERE id IN (
            SELECT w.id FROM worker AS w
            WHERE least(w.dead_at, w.stopped_at) < now() - interval '7 days'
              AND NOT EXISTS (SELECT 1 FROM task AS t WHERE t.holder = w.id)
            LIMIT {}
        ) RETURNING 1
    """,
}


@dataclass
class Pruned:
    """What a run did."""

    found: int = 0
    deleted: int = 0
    dropped: list[str] = field(default_factory=list)
    #: By name, why it stays.
    kept: dict[str, str] = field(default_factory=dict)


class Busy(Exception):
    """Somebody has read this partition in a transaction that is still open."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is being read")
        self.name = name


class Pruner:
    """Over a connection of its own, outside any transaction. Nobody else removes days meanwhile.

    Between two steps it waits for its turn on a busy machine, so there are few.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        #: Of every partition, by its name.
        self._states: dict[str, str] = {}
        self.pruned = Pruned()

    async def days(self, cutoff: datetime) -> list[date]:
        """The whole days before the cutoff of which something is left.

        The oldest first; before them one that was left half detached, which stands in the others' way.
        """
        await self._connection.execute(
            f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'; SET max_parallel_workers_per_gather = 0"
        )
        await self._look()
        found = {partitions.day_of(name) for name in self._states}
        pending = {partitions.day_of(name) for name, state in self._states.items() if state == "pending"}
        return sorted(
            (day for day in found if _end(day) <= cutoff), key=lambda day: (day not in pending, day)
        )

    async def prune(self, day: date) -> bool:
        """Remove one of `days`, or all of it that is final.

        False when it is read: later days would not go either.
        """
        name = partitions.partition_name("task", day)
        had_tasks = name in self._states
        try:
            alive, found = await self._take_out(day) if had_tasks else (0, 0)
            self.pruned.found += found
            if alive:
                await self._attach(day)
                await self._delete_final(day)
                self._keep(name, UNFINISHED, f"{alive} of its tasks are not final")
                return True
            await self._drop(day)
        except Busy as busy:
            self._keep(busy.name, READ, "an open transaction reads it; the next run goes on")
            return False
        if had_tasks:
            self.pruned.deleted += found
            self.pruned.dropped.append(name)
            metrics.PRUNED.labels("task").inc(found)
            log.info("partition %s is dropped with %d tasks", name, found)
        return True

    async def _take_out(self, day: date) -> tuple[int, int]:
        """Detach a day's tasks when all are final. Returns how many are not, and how many there are."""
        if not await self._connection.fetchval(partitions.count_alive(day)):
            await self._detach("task", day)
        # Until it was detached an operator may have brought a task back to life.
        counts = await self._connection.fetchrow(partitions.count_alive_and_all(day))
        return counts["alive"], counts["found"]

    async def _drop(self, day: date) -> None:
        """What is left of a day. Raises Busy."""
        for table in partitions.PARTITIONED:
            await self._detach(table, day)
        names = [partitions.partition_name(table, day) for table in partitions.PARTITIONED]
        left = [name for name in names if self._states.pop(name, None)]
        await self._patiently("task", day, partial(self._connection.execute, partitions.drop(left)))

    async def _look(self) -> None:
        rows = await self._connection.fetch(partitions.STATES)
        self._states = {row["name"]: row["state"] for row in rows}

    async def _detach(self, table: str, day: date) -> None:
        """Raises Busy; then it is attached still, or pending."""
        name = partitions.partition_name(table, day)

        async def step() -> None:
            state = self._states.get(name)
            if state == "attached":
                await self._connection.execute(partitions.detach(table, day))
            elif state == "pending":
                await self._connection.execute(partitions.finish_detaching(table, day))
            if state:
                self._states[name] = "detached"

        await self._patiently(table, day, step)

    async def _attach(self, day: date) -> None:
        """Give a day with a living task its place in the table back. Raises Busy."""
        name = partitions.partition_name("task", day)
        if self._states[name] == "pending":
            await self._detach("task", day)
        if self._states[name] == "detached":
            statement = partitions.attach("task", day)
            await self._patiently("task", day, partial(self._connection.execute, statement))
            self._states[name] = "attached"

    async def _patiently(self, table: str, day: date, step: Callable[[], Awaitable[object]]) -> None:
        """Try again while the lock that a step needs is taken. Raises Busy."""
        for left in reversed(range(TRIES)):
            try:
                await step()
            except asyncpg.LockNotAvailableError:
                if not left:
                    raise Busy(partitions.partition_name(table, day)) from None
                await asyncio.sleep(PAUSE_S)
                await self._look()  # what was being detached may be pending now
            else:
                return

    async def _delete_final(self, day: date) -> None:
        low, high = partitions.floor_id(day), partitions.floor_id(day + timedelta(days=1))
        gone = BATCH
        while gone == BATCH:
            gone = await self._connection.fetchval(
                DELETE_FINAL.sql, *DELETE_FINAL.values({"low": low, "high": high, "limit": BATCH})
            )
            self.pruned.deleted += gone
            metrics.PRUNED.labels("task").inc(gone)

    def _keep(self, name: str, reason: str, words: str) -> None:
        self.pruned.kept[name] = words
        metrics.PARTITIONS_KEPT.labels(reason).inc()
        log.warning("partition %s stays: %s", name, words)


async def prune_aged(database: Sql) -> None:
    """Delete old submission keys, firings and workers that hold nothing."""
    for table, sql in AGED.items():
        while True:
            gone = len(await database.run(sql, BATCH))
            metrics.PRUNED.labels(table).inc(gone)
            if gone < BATCH:
                break


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
