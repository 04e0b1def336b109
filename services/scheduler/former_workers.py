"""Remembers which of the workers that ended within the last hour no longer hold tasks.

A worker leaves an entry in the index of `holder` for each task that it ever claimed, until vacuum
removes the entry, and vacuum waits for the oldest open snapshot. Workers replace themselves after
100,000 tasks, so the entries of former workers add up. Therefore each former worker is checked by
itself, until it is certain that it holds no task. It is then never checked again, because a worker that
has ended cannot claim.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.rescue import ENDED_RECENTLY

#: Time after the end of a worker after which none of its transactions is open any more, so that it
#: cannot get further tasks.
SETTLES_AFTER = timedelta(seconds=30)

#: Time limit of the check of one worker, and seconds until the check is repeated if that was not
#: enough. As soon as vacuum has removed the entries, a check takes less than a millisecond.
CHECK_LIMIT_S, AGAIN_S = 0.04, 60.0
#: Sets the time limit of the statements in the open transaction. $1: milliseconds, as text.
LIMIT = "SELECT set_config('statement_timeout', $1, true)"

FORMER = Statement(f"""
    SELECT id, dead_at IS NOT NULL AS is_dead,
        greatest(dead_at, stopped_at) < now() - :settles_after::interval AS is_over
    FROM worker WHERE {ENDED_RECENTLY} ORDER BY greatest(dead_at, stopped_at)
""")

#: Selects those of the workers that hold a task. It takes half the time of the statement that takes
#: tasks back, and also finds tasks that another transaction has locked, which that one skips. The
#: LIMIT makes Postgres read the index for each worker, and not the tasks of all workers at once.
HOLDING = Statement("""
    SELECT w.id FROM unnest(:workers::uuid[]) AS w(id)
    CROSS JOIN LATERAL (SELECT FROM task AS t WHERE t.holder = w.id LIMIT 1) AS held
""")


@dataclass(frozen=True, slots=True)
class Former:
    """A worker that ended within the last hour.

    It is over once it cannot get further tasks, because none of its transactions is open any more.
    """

    id: UUID
    is_dead: bool
    is_over: bool


class FormerWorkers:
    """The workers that ended within the last hour, and which of them may still hold tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._workers: Sequence[Former] = ()
        #: Number of checks of each worker.
        self._checks: Counter[UUID] = Counter()
        #: Workers that held no task at their first check.
        self._checked: set[UUID] = set()
        #: Times of this process' clock before which a worker is not checked again, because its check
        #: took too long.
        self._not_before: dict[UUID, float] = {}
        #: Workers that are known to hold no task.
        self._settled: set[UUID] = set()

    async def read(self) -> None:
        """Read which workers ended within the last hour. Raises ServerUnavailable."""
        rows = await self._database.run(FORMER, settles_after=SETTLES_AFTER)
        self._workers = [Former(UUID(int=row["id"].int), row["is_dead"], row["is_over"]) for row in rows]
        known = {worker.id for worker in self._workers}
        self._checks = Counter({worker: self._checks[worker] for worker in known})
        self._not_before = {id: at for id, at in self._not_before.items() if id in known}
        self._checked &= known
        self._settled &= known

    @property
    def dead(self) -> list[UUID]:
        """The workers that were declared dead within the last hour."""
        return [worker.id for worker in self._workers if worker.is_dead]

    @property
    def just_dead(self) -> list[UUID]:
        """The workers that died a moment ago. Each round checks all of them."""
        return [worker.id for worker in self._workers if worker.is_dead and not worker.is_over]

    @property
    def unsettled(self) -> list[Former]:
        """The other workers to check now: once after the end, and again when they are over. Those that
        were checked least often come first.
        """
        due = [worker for worker in self._workers if self._is_due(worker)]
        return sorted(due, key=lambda worker: self._checks[worker.id])

    def _is_due(self, worker: Former) -> bool:
        if time.monotonic() < self._not_before.get(worker.id, 0.0):
            return False
        if worker.is_over:
            return worker.id not in self._settled
        return not worker.is_dead and worker.id not in self._checked

    async def holding(self, workers: Sequence[UUID]) -> list[UUID]:
        """Return those of these workers that hold tasks. Raises ServerUnavailable."""
        rows = await self._database.run(HOLDING, workers=workers) if workers else []
        return [UUID(int=row["id"].int) for row in rows]

    async def check(self, worker: Former) -> bool:
        """Return whether the worker holds tasks. False also if the check took too long and is
        repeated later.

        Raises ServerUnavailable.
        """
        self._checks[worker.id] += 1
        holds = await self._holds(worker.id)
        if holds is None:
            self._not_before[worker.id] = time.monotonic() + AGAIN_S
        elif not holds:
            self._checked.add(worker.id)
            if worker.is_over:
                self._settled.add(worker.id)
        return bool(holds)

    async def _holds(self, worker: UUID) -> bool | None:
        """Whether the worker holds tasks; None if reading that takes too long."""
        engine, values = self._database.engine, HOLDING.values({"workers": [worker]})
        # This limit ends the wait for a server that does not answer at all. LIMIT is the server's own.
        async with self._database.translated(), asyncio.timeout(self._database.limit_s):
            try:
                async with self._database.transaction():
                    await engine.fetch(LIMIT, [str(int(1000 * CHECK_LIMIT_S))])
                    return bool(await engine.fetch(HOLDING.sql, values))
            except asyncpg.QueryCanceledError:
                return None
