"""Finds tasks for a list, newest first, within a time limit, and reports how far back it searched.

First, the whole query is sent to Postgres, because an index answers most queries in milliseconds.
If that takes too long, the tasks are read in ranges of limited size, so each request gets further
back, however rare the matching tasks are. If a search made no progress within its time limit, it
reads one more small range. A client that follows the cursors therefore always reaches the end.
"""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.columns.combination import WhereRaw
from piccolo.query.methods.select import Select

from services.api.reads import Reads
from shared.ledger import partitions
from shared.ledger.task_tables import Task, TaskFailure

#: Time limit for building one page, in seconds, not counting the wait for other searches, and the
#: part of it that the first try with the whole query may take.
BUDGET_S, WHOLE_S = 0.4, 0.15
#: Number of tasks in the first range that is read, the factor by which each further range is
#: larger, and the maximum.
FIRST_STRETCH, GROWTH, MAX_STRETCH = 5_000, 4, 500_000
#: Number of tasks or failures that a search reads after its time limit if it has made no progress
#: at all. This takes little time, because they are read by their ids.
LEAST = 500
#: Maximum number of failed tasks that one step of a search examines. They are read by their ids.
MAX_FAILURES = 2_000

Row = dict[str, Any]
#: An id that is lower than every task id, and one that is higher.
BEGINNING, END = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(slots=True)
class Found:
    """The result of a search: the matching tasks, newest first, and how far back it searched."""

    #: Position of the search: all tasks with this id or a higher one were examined.
    until: UUID
    rows: list[Row] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Return True if the search has examined all tasks."""
        return self.until == BEGINNING


class Budget:
    """Measures the time that remains for building one page."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds

    @property
    def left_s(self) -> float:
        return self._ends - time.monotonic()


class Search:
    """Searches the tasks for one page of a list."""

    def __init__(
        self,
        reads: Reads,
        select: Callable[[], Select[Any]],
        limit: int,
        *,
        below: UUID | None,
        is_filtered: bool,
    ) -> None:
        """Prepare a search. `select` builds the query for matching tasks.

        `below` is the position at which the previous page ended; None for the first page.
        """
        self._start = below or END
        self._reads = reads
        self._is_filtered = is_filtered
        self._select = select
        self._limit = limit
        self._budget = Budget(0)
        self._found = Found(until=self._start)

    async def everywhere(self, today: datetime) -> Found:
        """Search the whole table `task`.

        Days before yesterday have additional indexes, so the whole query is tried again when the
        search reaches those days.
        """
        past = partitions.floor_id((today - timedelta(days=1)).date())
        floors = (past, BEGINNING) if self._found.until > past else (BEGINNING,)
        async with self._in_turn():
            for floor in floors:
                if await self._whole():
                    break
                await self._stretches(floor)
                if self._found.until > floor:
                    break
            if self._is_at_its_start:
                await self._least_stretch()
        return self._found

    async def among_failures(self, candidates: Callable[[], Select[Any]]) -> Found:
        """Search only failed tasks. `candidates` builds the query of `task_failure` that finds
        their ids.
        """
        async with self._in_turn():
            size = min(self._limit, MAX_FAILURES)
            while self._is_open:
                ids = await self._within(self._failures(candidates, size))
                if ids is None or not await self._read(self._named(ids), until=_end_of(ids, size)):
                    break
                size = min(size * GROWTH, MAX_FAILURES)
            if self._is_at_its_start:
                ids = await self._reads.select_little(self._failures(candidates, LEAST))
                await self._take(self._named(ids), until=_end_of(ids, LEAST))
        return self._found

    @asynccontextmanager
    async def _in_turn(self) -> AsyncIterator[None]:
        """Wait for a turn if this is a search that may read many tasks. The time limit begins inside
        this context. If there is no turn, it is over at once.
        """
        if not self._is_filtered:
            self._budget = Budget(BUDGET_S)
            yield
            return
        async with self._reads.search() as has_turn:
            self._budget = Budget(BUDGET_S if has_turn else 0)
            yield

    def _failures(self, candidates: Callable[[], Select[Any]], size: int) -> Select[Any]:
        query = candidates().where(TaskFailure.task_id < self._found.until)
        return query.order_by(TaskFailure.task_id, ascending=False).limit(size)

    def _named(self, ids: Sequence[Row]) -> Select[Any] | None:
        """Build the query for the matching tasks among these ids.

        Returns None if there are no ids.
        """
        if not ids:
            return None
        return self._select().where(WhereRaw("id = ANY({}::uuid[])", [row["task_id"] for row in ids]))

    async def _whole(self) -> bool:
        """Search all remaining tasks with one query. Returns False if that takes too long."""
        query = self._select().where(Task.id < self._found.until)
        return await self._read(query, until=BEGINNING, limit_s=WHOLE_S)

    async def _stretches(self, floor: UUID) -> None:
        """Search one range of ids after another until `floor` is reached or the time is over."""
        size = FIRST_STRETCH
        while self._is_open and self._found.until > floor:
            rows = await self._within(self._bound(size))
            if rows is None:
                return
            low = max(_low(rows), floor)
            if not await self._read(self._between(low), until=low):
                return
            size = min(size * GROWTH, MAX_STRETCH)

    async def _least_stretch(self) -> None:
        """Search one small range of ids even if the time limit has passed. Raises ReadTooSlow."""
        low = _low(await self._reads.select_little(self._bound(LEAST)))
        await self._take(self._between(low), until=low)

    def _bound(self, size: int) -> Select[Any]:
        """Build the query for the lowest id of the next range, which has `size` tasks."""
        query = Task.select(Task.id).where(Task.id < self._found.until)
        return query.order_by(Task.id, ascending=False).offset(size - 1).limit(1)

    def _between(self, low: UUID) -> Select[Any]:
        return self._select().where(Task.id < self._found.until).where(Task.id >= low)

    async def _read(self, query: Select[Any] | None, *, until: UUID, limit_s: float = BUDGET_S) -> bool:
        """Read matching rows into the page, up to its size. Returns False if there was not enough
        time.
        """
        rows = [] if query is None else await self._within(self._page(query), limit_s)
        if rows is None:
            return False
        self._found.rows += rows
        self._found.until = until
        return True

    async def _take(self, query: Select[Any] | None, *, until: UUID) -> None:
        """Read matching rows into the page even if the time limit has passed.

        Raises ReadTooSlow.
        """
        if query is not None:
            self._found.rows += await self._reads.select_little(self._page(query))
        self._found.until = until

    def _page(self, query: Select[Any]) -> Select[Any]:
        """Order the query by id, newest first, and limit it to the rows that the page needs."""
        return query.order_by(Task.id, ascending=False).limit(self._limit - len(self._found.rows))

    async def _within(self, query: Select[Any], limit_s: float = BUDGET_S) -> list[Row] | None:
        left_s = min(limit_s, self._budget.left_s)
        if left_s <= 0:
            return None
        return await self._reads.within(left_s, query, is_filtered=self._is_filtered)

    @property
    def _is_open(self) -> bool:
        """Return True if the page needs more rows, some tasks are not examined yet, and time is
        left.
        """
        is_short = len(self._found.rows) < self._limit and self._found.until > BEGINNING
        return is_short and self._budget.left_s > 0

    @property
    def _is_at_its_start(self) -> bool:
        """Return True if the search has not made any progress yet."""
        return self._found.until == self._start


def _low(rows: Sequence[Row]) -> UUID:
    """Return the lowest id of a range, or the beginning of all ids if fewer tasks were left."""
    return rows[0]["id"] if rows else BEGINNING


def _end_of(ids: Sequence[Row], size: int) -> UUID:
    """Return the position down to which failures were examined.

    If fewer than the requested `size` were found, all of them were examined.
    """
    return ids[-1]["task_id"] if len(ids) == size else BEGINNING
