"""Removes whole days of tasks whose time is over: their partitions go, and only then what belongs to them.

What belongs to living tasks of such a day is moved to the kept partitions first (see `kept`).
Every step may be the last one of a run: what is found half done is taken up by the next run.
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

#: A waiting DDL statement stops what comes behind it, so it gives up soon and is tried again.
LOCK_TIMEOUT_S = 2
TRIES = 5
PAUSE_S = 1.0
#: A day with living tasks can only go once all older days have gone.
BEHIND = "behind"


class Pruner:
    """It has a connection of its own as owner, outside any transaction. No other cleanup runs meanwhile.

    Between two steps it waits for its turn on a busy machine, so there are few.
    """

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._kept = Kept(connection)
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
        await self._give_back_living()
        found = {partitions.day_of(name) for name in self._states}
        pending = {partitions.day_of(name) for name, state in self._states.items() if state == "pending"}
        return sorted(
            (day for day in found if _end(day) <= cutoff), key=lambda day: (day not in pending, day)
        )

    async def prune(self, day: date) -> bool:
        """Remove one of `days`, but for what belongs to living tasks.

        False when it is read: later days would not go either.
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
            log.info("partition %s is dropped with %d tasks; %d are kept", name, found - kept, kept)
        return True

    async def prune_kept(self, ended_before: datetime) -> None:
        """Remove the tasks that have ended since their day was dropped."""
        gone = await self._kept.prune(ended_before)
        self._count(gone, gone)

    async def _take_out(self, day: date) -> tuple[int, int]:
        """Detach a day's tasks when all are final; otherwise keep the living ones and drop the others.

        Returns how many there were, and how many are kept. Raises Stays.
        """
        if not await self._connection.fetchval(partitions.count_alive(day)):
            await self._detach("task", day)
        # Until it was detached an operator may have brought a task back to life.
        counts = await self._connection.fetchrow(partitions.count_alive_and_all(day))
        return counts["found"], await self._take("task", day) if counts["alive"] else 0

    async def _take(self, table: str, day: date) -> int:
        """Replace a day's partition by rows in the kept one. Returns how many. Raises Stays."""
        name = partitions.partition_name(table, day)
        if any(partitions.day_of(other) < day for other in self._states):
            await self._attach(day)
            raise Stays(name, BEHIND, "an older day has to go first")
        if self._states[name] == "pending":
            await self._detach(table, day)
        moved = await self._kept.take(table, day)
        del self._states[name]
        return moved

    async def _drop(self, day: date) -> None:
        """What is left of a day. Raises Stays."""
        names = {table: partitions.partition_name(table, day) for table in partitions.PARTITIONED}
        some_are_kept = await self._kept.has(day)
        for table in [table for table, name in names.items() if name in self._states]:
            await (self._take(table, day) if some_are_kept else self._detach(table, day))
        left = [name for name in names.values() if self._states.pop(name, None)]
        if left:
            await self._patiently("task", day, partial(self._connection.execute, partitions.drop(left)))

    async def _give_back_living(self) -> None:
        """Attach the days that an earlier run left detached although a task came back to life."""
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
        if self._states.get(name) == "pending":
            await self._detach("task", day)
        if self._states.get(name) == "detached":
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

    def _count(self, found: int, deleted: int) -> None:
        self.pruned.found += found
        self.pruned.deleted += deleted
        metrics.PRUNED.labels("task").inc(deleted)

    def _stay(self, stays: Stays) -> None:
        self.pruned.kept[stays.name] = str(stays)
        metrics.PARTITIONS_KEPT.labels(stays.reason).inc()
        log.warning("partition %s stays: %s", stays.name, stays)


def _end(day: date) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), UTC)
