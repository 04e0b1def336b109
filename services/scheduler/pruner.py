"""Drops whole days of tasks whose retention is over: first the partition of tasks, then those of
attempts and log lines.

Rows of unfinished tasks are moved to the kept partitions first, see `kept`. A run may stop after
any step; the next run continues from there.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import partial

import asyncpg

from services.scheduler.kept import Busy, Kept, Stays
from shared.ledger import partitions
from shared.ledger.cleanup import Pruned
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Lock time-out in seconds. A DDL statement that waits for its lock blocks all later statements on
#: the table, so it gives up early and is tried again.
LOCK_TIMEOUT_S = 2
TRIES = 5
PAUSE_S = 1.0
#: Reason why a day is not dropped, as the label value of a metric: it has unfinished tasks, and
#: these can be moved only after all older days were dropped.
BEHIND = "behind"


class Pruner:
    """Drops old days over a separate connection that has the rights of the tables' owner.

    No statement runs inside a transaction, and only one cleanup runs at a time. The work is divided
    into few steps, because each step waits for CPU time on a busy machine.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._kept = Kept(connection)
        #: State of each existing partition by its name: attached, pending (half detached) or
        #: detached.
        self._states: dict[str, str] = {}
        self.pruned = Pruned()

    async def days(self, cutoff: datetime) -> list[date]:
        """Return the days that end before the cutoff and still have partitions, oldest first.

        A day whose partition is half detached (state pending) comes before all others, because
        Postgres can detach no other partition until this one is finished.
        """
        await self._connection.execute(
            f"SET lock_timeout = '{LOCK_TIMEOUT_S}s'; SET max_parallel_workers_per_gather = 0"
        )
        await self._look()
        await self._give_back_living()
        found = {partitions.day_of(name) for name in self._states}
        pending = {partitions.day_of(name) for name, state in self._states.items() if state == "pending"}
        return sorted(
            (day for day in found if _end(day) <= cutoff), key=lambda day: (day not in pending, day)
        )

    async def prune(self, day: date) -> bool:
        """Drop the partitions of one of `days`, after moving the rows of its unfinished tasks.

        Returns False if an open transaction reads the day's partition. Later days could not be
        dropped then either.
        """
        name = partitions.partition_name("task", day)
        had_tasks = name in self._states
        try:
            found, kept = await self._take_out(day) if had_tasks else (0, 0)
            await self._drop(day)
        except Stays as stays:
            self._stay(stays)
            return not isinstance(stays, Busy)
        if had_tasks:
            self._count(found, found - kept)
            self.pruned.dropped.append(name)
            log.info(
                "a day's partition was dropped with %d tasks; %d unfinished ones were moved elsewhere",
                found - kept,
                kept,
                extra={"partition": name},
            )
        return True

    async def prune_kept(self, ended_before: datetime) -> None:
        """Delete the tasks that were kept when their day was dropped and that have ended since
        then.
        """
        gone = await self._kept.prune(ended_before)
        self._count(gone, gone)

    async def _take_out(self, day: date) -> tuple[int, int]:
        """Take the tasks of a day out of the table `task`. Raises Stays.

        If all of them are final, the partition is detached. Otherwise, the unfinished ones are
        moved to the kept partition, and the day's partition is dropped. Returns how many tasks the
        day had and how many were kept.
        """
        if not await self._connection.fetchval(partitions.count_alive(day)):
            await self._detach("task", day)
        # Count again, because an operator may have reopened a task just before the partition was
        # detached.
        counts = await self._connection.fetchrow(partitions.count_alive_and_all(day))
        return counts["found"], await self._take("task", day) if counts["alive"] else 0

    async def _take(self, table: str, day: date) -> int:
        """Move a partition's unfinished rows to the kept partition, and drop the partition. Raises
        Stays.

        Returns how many rows moved.
        """
        name = partitions.partition_name(table, day)
        if any(partitions.day_of(other) < day for other in self._states):
            await self._attach(day)
            raise Stays(name, BEHIND, "an older day has to be dropped first")
        if self._states[name] == "pending":
            await self._detach(table, day)
        moved = await self._kept.take(table, day)
        del self._states[name]
        return moved

    async def _drop(self, day: date) -> None:
        """Drop all partitions of a day that still exist. Raises Stays."""
        names = {table: partitions.partition_name(table, day) for table in partitions.PARTITIONED}
        some_are_kept = await self._kept.has(day)
        for table in [table for table, name in names.items() if name in self._states]:
            await (self._take(table, day) if some_are_kept else self._detach(table, day))
        left = [name for name in names.values() if self._states.pop(name, None)]
        if left:
            await self._patiently("task", day, partial(self._connection.execute, partitions.drop(left)))

    async def _give_back_living(self) -> None:
        """Attach partitions again that an earlier run left detached, if they have an unfinished
        task.

        That can happen if an operator reopens a task during the cleanup.
        """
        left = [name for name, state in self._states.items() if state != "attached"]
        for day in sorted(partitions.day_of(name) for name in left if name.startswith("task_p")):
            try:
                if await self._connection.fetchval(partitions.count_alive(day)):
                    await self._attach(day)
            except Busy as busy:
                self._stay(busy)

    async def _look(self) -> None:
        rows = await self._connection.fetch(partitions.STATES)
        self._states = {row["name"]: row["state"] for row in rows}

    async def _detach(self, table: str, day: date) -> None:
        """Detach a partition. Raises Busy, after which the partition may be attached or half
        detached.
        """
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
        """Attach a day's task partition again, because it has an unfinished task. Raises Busy."""
        name = partitions.partition_name("task", day)
        if self._states.get(name) == "pending":
            await self._detach("task", day)
        if self._states.get(name) == "detached":
            statement = partitions.attach("task", day)
            await self._patiently("task", day, partial(self._connection.execute, statement))
            self._states[name] = "attached"

    async def _patiently(self, table: str, day: date, step: Callable[[], Awaitable[object]]) -> None:
        """Run a step, and try again as long as another transaction holds a lock that it needs.

        Raises Busy after the last try.
        """
        for left in reversed(range(TRIES)):
            try:
                await step()
            except asyncpg.LockNotAvailableError:
                if not left:
                    raise Busy(partitions.partition_name(table, day)) from None
                await asyncio.sleep(PAUSE_S)
                await self._look()  # The failed step may have left a partition half detached
            else:
                return

    def _count(self, found: int, deleted: int) -> None:
        self.pruned.found += found
        self.pruned.deleted += deleted
        metrics.PRUNED.labels("task").inc(deleted)

    def _stay(self, stays: Stays) -> None:
        self.pruned.kept[stays.name] = str(stays)
        metrics.PARTITIONS_KEPT.labels(stays.reason).inc()
        log.warning("a partition was not dropped in this run: %s", stays, extra={"partition": stays.name})


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
