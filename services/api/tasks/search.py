"""Finds tasks for a list, newest first, within a time limit, and reports how far back it searched.

If an index may answer the query in milliseconds, the whole query is sent to Postgres. If there is no
such index, or that takes too long, the tasks are read one after another until the time is over, so
each request gets further back, however rare the matching tasks are. If a search made no progress
within its time limit, it reads a few more tasks. A client that follows the cursors therefore always
reaches the end.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from piccolo.custom_types import Combinable
from piccolo.query.methods.select import Select

from services.api.reads import IN_ORDER, PLANNED_ANEW, Reads
from services.api.tasks.scan import MATCHES, Scan
from shared.ledger import partitions
from shared.ledger.ids import FIRST_ID
from shared.ledger.task_tables import Task

#: Time limit for building one page, in seconds, not counting the wait for other searches, and the
#: part of it that the first try with the whole query may take.
BUDGET_S, WHOLE_S = 0.4, 0.15
#: Time limit in seconds of the look that every search takes first: of a scan, and of a try with the
#: whole query, which includes its planning. A scan has the same time after the time limit of its
#: search if the search has made no progress at all.
LOOK_S, WHOLE_LOOK_S = 0.005, 0.03
#: Number of tasks in the first range of past days that is read, the factor by which each further
#: range is larger, and the maximum.
FIRST_STRETCH, GROWTH, MAX_STRETCH = 5_000, 4, 500_000

Row = dict[str, Any]


@dataclass(slots=True)
class Found:
    """The result of a search: the matching tasks, newest first, and how far back it searched."""

    #: Position of the search: all tasks with this id or a higher one were examined.
    until: UUID
    #: The lowest id that a matching task can have.
    first: UUID
    #: May be more than the page needs.
    rows: list[Row] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        """Return True if the search has examined all tasks that can match."""
        return self.until <= self.first


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
        *,
        columns: Sequence[Any],
        conditions: Sequence[Combinable],
        lookups: Sequence[Combinable],
        ids: tuple[UUID, UUID],
        limit: int,
        below: UUID | None,
        is_filtered: bool,
        is_indexed: bool,
    ) -> None:
        """Prepare a search for tasks that meet all conditions.

        Their ids are at least `ids[0]` and below `ids[1]`. `below` is the position at which the
        previous page ended; None for the first page. `columns` must contain the id.
        `lookups` are conditions of queries that find tasks by an index; see `TaskFilter.lookups`.
        `is_indexed` is true if an index of today's tasks may find the matching ones.
        """
        first, end = ids
        self._start = end if below is None else min(below, end)
        self._reads = reads
        self._columns = columns
        self._conditions = conditions
        self._lookups = lookups
        self._limit = limit
        self._is_filtered = is_filtered
        self._is_indexed = is_indexed
        self._scan_of_page: Scan | None = None
        self._budget = Budget(BUDGET_S)
        self._found = Found(self._start, first)

    async def everywhere(self, today: datetime) -> Found:
        """Search the whole table `task`.

        Where an index may find the matching tasks, the whole query is tried first, and then ranges
        of ids are read, in which Postgres can use the index. Days before yesterday have additional
        indexes, so this also happens when a scan reaches those days.
        """
        first = self._found.first
        past = max(first, partitions.floor_id((today - timedelta(days=1)).date()))
        async with self._in_turn(lambda: self._look(past)):
            if not self._is_indexed and self._found.until > past:
                await self._scan(past)
            if (self._is_indexed or self._found.until <= past) and not await self._whole():
                await self._stretches(first)
            if self._is_at_its_start:
                await self._least_scan(first)
        return self._found

    async def among_failures(self, failures: Select[Any]) -> Found:
        """Search only failed tasks: those whose ids the query on `task_failure` finds."""
        first = self._found.first
        async with self._in_turn(lambda: self._scan(first, failures)):
            await self._scan(first, failures)
            if self._is_at_its_start:
                await self._least_scan(first, failures)
        return self._found

    @asynccontextmanager
    async def _in_turn(self, look: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
        """Measure the time limit inside this context.

        If this search may read many tasks, it first takes a short look, which is enough for most
        searches and waits for few others. For the rest it waits for its turn. If there is none in
        time, for the look or for the rest, no time is left, and the page contains what the look has
        found.
        """
        if not self._is_filtered:
            self._budget = Budget(BUDGET_S)
            yield
            return
        async with self._reads.look() as has_turn:
            if has_turn:
                self._budget = Budget(LOOK_S)
                await look()
        if self._is_finished:
            yield
            return
        if not has_turn:
            self._budget = Budget(0)
            yield
            return
        async with self._reads.search() as has_turn:
            self._budget = Budget(BUDGET_S if has_turn else 0)
            yield

    async def _look(self, past: UUID) -> None:
        """Take the short look of a search that is not only for failures."""
        if self._is_indexed or self._found.until <= past:
            self._budget = Budget(WHOLE_LOOK_S)
            await self._whole()
        else:
            await self._scan(past)

    async def _whole(self) -> bool:
        """Search all remaining tasks with one query. Returns False if that takes too long."""
        return self._is_finished or await self._read(self._found.first, limit_s=WHOLE_S)

    async def _stretches(self, floor: UUID) -> None:
        """Search one range of ids after another until `floor` is reached or the time is over."""
        size = FIRST_STRETCH
        while self._is_open and self._found.until > floor:
            rows = await self._within(self._bound(size))
            if rows is None or not await self._read(max(_low(rows), floor), limit_s=BUDGET_S):
                return
            size = min(size * GROWTH, MAX_STRETCH)

    def _bound(self, size: int) -> Select[Any]:
        """Build the query for the lowest id of the next range, which has `size` tasks."""
        query = Task.select(Task.id).where(Task.id < self._found.until)
        return query.order_by(Task.id, ascending=False).offset(size - 1).limit(1)

    async def _read(self, low: UUID, *, limit_s: float) -> bool:
        """Read the matching tasks down to the id `low` into the page, up to its size. Returns False
        if there was not enough time.
        """
        query = self._remaining(self._columns, low).where(*self._conditions, *self._lookups)
        rows = await self._within(query, limit_s)
        if rows is None:
            return False
        self._found.rows += rows
        self._found.until = low
        return True

    async def _scan(self, floor: UUID, failures: Select[Any] | None = None) -> bool:
        """Read one task after another until `floor` is reached or the time is over. Returns False if
        there was not enough time to read any.
        """
        left_s = self._budget.left_s
        if self._is_finished or left_s <= 0:
            return False
        rows = await self._reads.scan(*self._scanned(floor, failures, left_s))
        if rows is None:
            return False
        self._take(rows, floor)
        return True

    async def _least_scan(self, floor: UUID, failures: Select[Any] | None = None) -> None:
        """Read a few tasks even if the time limit has passed. Raises ReadTooSlow."""
        self._take(await self._reads.scan_little(*self._scanned(floor, failures, LOOK_S)), floor)

    def _scanned(self, floor: UUID, failures: Select[Any] | None, seconds: float) -> tuple[str, list[Any]]:
        """Return the statement of a scan down to the id `floor`, and its values."""
        if self._scan_of_page is None:
            self._scan_of_page = Scan(
                columns=self._columns, conditions=self._conditions, failures=failures, limit=self._limit
            )
        scan = self._scan_of_page
        return scan.sql, scan.values(below=self._found.until, floor=floor, seconds=seconds)

    def _take(self, rows: Sequence[Row], floor: UUID) -> None:
        """Add the matching rows of a scan to the page, and note how far the scan got."""
        self._found.until = rows[-1]["id"] if len(rows) == self._limit else floor
        self._found.rows += [row for row in rows if row.pop(MATCHES)]

    def _remaining(self, columns: Sequence[Any], low: UUID) -> Select[Any]:
        """Build a query for the tasks from the position of the search down to the id `low`, newest
        first, as many as the page needs.
        """
        query = Task.select(*columns).where(Task.id < self._found.until).where(Task.id >= low)
        return query.order_by(Task.id, ascending=False).limit(self._missing)

    async def _within(self, query: Select[Any], limit_s: float = BUDGET_S) -> list[Row] | None:
        left_s = min(limit_s, self._budget.left_s)
        if left_s <= 0:
            return None
        # Without the second condition, Postgres would read and sort all tasks of a large workflow.
        plan = PLANNED_ANEW if self._is_filtered and not self._lookups else IN_ORDER
        return await self._reads.within(left_s, query, plan)

    @property
    def _missing(self) -> int:
        """Number of rows that the page still needs."""
        return self._limit - len(self._found.rows)

    @property
    def _is_finished(self) -> bool:
        """Return True if the page is full or all tasks are examined."""
        return self._missing <= 0 or self._found.is_complete

    @property
    def _is_open(self) -> bool:
        """Return True if the page needs more rows, some tasks are not examined yet, and time is
        left.
        """
        return not self._is_finished and self._budget.left_s > 0

    @property
    def _is_at_its_start(self) -> bool:
        """Return True if the search has not made any progress yet."""
        return self._found.until == self._start and not self._found.is_complete


def _low(rows: Sequence[Row]) -> UUID:
    """Return the lowest id of a range, or the lowest of all ids if fewer tasks were left."""
    return rows[0]["id"] if rows else FIRST_ID
