"""Finds tasks newest first, as far back as a time budget reaches, and says how far that was.

Postgres first gets the whole question: an index answers most of them in milliseconds. Otherwise the tasks are
read stretch by stretch. Each stretch is bounded by the number of its tasks, so the search gets further with
each request, however rare the tasks are that it looks for.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.query.methods.select import Select

from services.api.reads import Reads
from shared.ledger import partitions
from shared.ledger.tables import Task, TaskFailure

#: Time for one page, and how much of it the whole question may take at once.
BUDGET_S, WHOLE_S = 0.4, 0.15
#: Tasks of the first stretch. Each is larger than the one before while there is time: a scan reads 100,000 in
#: some 50 ms.
FIRST_STRETCH, GROWTH, MAX_STRETCH = 5_000, 4, 500_000
#: Failures that are examined in one step; they are read by their ids.
MAX_FAILURES = 2_000

Row = dict[str, Any]
#: Below and above all ids.
BEGINNING, END = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(slots=True)
class Found:
    """The tasks that fit, newest first."""

    #: All tasks down to this id were examined.
    until: UUID
    rows: list[Row] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """True if the search has examined all tasks."""
        return self.until == BEGINNING


class Budget:
    """Time that is left of one page."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return self._ends - time.monotonic()


class Search:
    """The search of one list."""

    def __init__(
        self,
        reads: Reads,
        select: Callable[[], Select[Any]],
        limit: int,
        *,
        below: UUID | None,
        is_filtered: bool,
    ) -> None:
        """`select` builds the query of the tasks that fit; `below` is where an earlier page ended."""
        self._reads = reads
        self._is_filtered = is_filtered
        self._select = select
        self._limit = limit
        self._budget = Budget(BUDGET_S)
        self._found = Found(until=below or END)

    async def everywhere(self, today: datetime) -> Found:
        """Read `task`. Days before yesterday have more indexes, so they get the whole question once more."""
        past = partitions.floor_id((today - timedelta(days=1)).date())
        floors = (past, BEGINNING) if self._found.until > past else (BEGINNING,)
        for floor in floors:
            if await self._whole():
                break
            await self._stretches(floor)
            if self._found.until > floor:
                break
        return self._found

    async def among_failures(self, candidates: Callable[[], Select[Any]]) -> Found:
        """Read the tasks that `candidates`, a query of `task_failure`, names."""
        size = self._limit
        while self._is_open:
            query = candidates().where(TaskFailure.task_id < self._found.until)
            ids = await self._within(query.order_by(TaskFailure.task_id, ascending=False).limit(size))
            if ids is None or not await self._look_at([row["task_id"] for row in ids]):
                break
            if len(ids) < size:
                self._found.until = BEGINNING
            size = min(size * GROWTH, MAX_FAILURES)
        return self._found

    async def _look_at(self, ids: Sequence[UUID]) -> bool:
        """Read these tasks; False when there was no time for it."""
        if not ids:
            return True
        return await self._read(self._select().where(Task.id.is_in(list(ids))), until=ids[-1])

    async def _whole(self) -> bool:
        """Read all that is left at once; False when that takes too long."""
        query = self._select().where(Task.id < self._found.until)
        return await self._read(query, until=BEGINNING, limit_s=WHOLE_S)

    async def _stretches(self, floor: UUID) -> None:
        """Read down to the floor, or as far as time allows."""
        size = FIRST_STRETCH
        while self._is_open and self._found.until > floor:
            low = await self._low(size)
            if low is None:
                return
            low = max(low, floor)
            query = self._select().where(Task.id < self._found.until).where(Task.id >= low)
            if not await self._read(query, until=low):
                return
            size = min(size * GROWTH, MAX_STRETCH)

    async def _low(self, size: int) -> UUID | None:
        """The first id of a stretch of this size; None when there was no time to find it."""
        query = Task.select(Task.id).where(Task.id < self._found.until)
        rows = await self._within(query.order_by(Task.id, ascending=False).offset(size - 1).limit(1))
        if rows is None:
            return None
        return rows[0]["id"] if rows else BEGINNING

    async def _read(self, query: Select[Any], *, until: UUID, limit_s: float = BUDGET_S) -> bool:
        """Take what the page still lacks; False when there was no time for it."""
        lacking = self._limit - len(self._found.rows)
        rows = await self._within(query.order_by(Task.id, ascending=False).limit(lacking), limit_s)
        if rows is None:
            return False
        self._found.rows += rows
        self._found.until = until
        return True

    async def _within(self, query: Select[Any], limit_s: float = BUDGET_S) -> list[Row] | None:
        left_s = min(limit_s, self._budget.left_s)
        if left_s <= 0:
            return None
        return await self._reads.within(left_s, query, plans_anew=self._is_filtered)

    @property
    def _is_open(self) -> bool:
        """More is wanted, and there is time for it."""
        is_short = len(self._found.rows) < self._limit and self._found.until > BEGINNING
        return is_short and self._budget.left_s > 0
