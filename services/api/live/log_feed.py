"""New log lines of one task: read once for all streams of this process."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from services.api.tasks.attempt_view import LEVELS
from services.api.tasks.schemas import LogLine
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Lines of one statement, and of one message.
SHARE = 500
#: Lines that are kept for streams that come a moment later. Slower ones read by themselves.
KEPT = 1_000

_AFTER = Statement("""
    SELECT claim, ordinal, logged_at, level, message FROM task_log
    WHERE task_id = :task AND (claim, ordinal) > (:claim, :ordinal) ORDER BY claim, ordinal LIMIT :limit
""")


#: Tasks that have lines after the given ones.
_WITH_NEWS = Statement("""
    SELECT g.task
    FROM unnest(:task::uuid[], :claim::integer[], :ordinal::integer[]) AS g(task, claim, ordinal)
    WHERE EXISTS (
        SELECT FROM task_log AS l WHERE l.task_id = g.task AND (l.claim, l.ordinal) > (g.claim, g.ordinal)
    )
""")


class Position(NamedTuple):
    """Where a line stands among all lines of its task."""

    claim: int = 0
    ordinal: int = 0


#: Before all lines.
START = Position()


class Placed(NamedTuple):
    position: Position
    line: LogLine


class LogFeed:
    """Used by one event loop."""

    def __init__(self, database: Database, task_id: UUID, start: Position) -> None:
        self._database = database
        self.task_id = task_id
        self._kept: deque[Placed] = deque()
        #: The position before the first kept line, and that of the last one.
        self._before = self.last = start
        self._stale = True
        self._reading = asyncio.Lock()

    def note_new(self) -> None:
        """There may be lines that are not read yet."""
        self._stale = True

    async def after(self, seen: Position) -> list[Placed]:
        """The lines after a position, at most SHARE. Raises ServerUnavailable."""
        async with self._reading:
            if self._stale and seen >= self._before:
                await self._read_on()
        if seen < self._before:
            return await self._read(seen)
        return [each for each in self._kept if each.position > seen][:SHARE]

    async def _read_on(self) -> None:
        self._stale = False
        try:
            read = await self._read(self.last)
        except BaseException:
            self._stale = True
            raise
        self._stale = self._stale or len(read) == SHARE
        self._kept.extend(read)
        while len(self._kept) > KEPT:
            self._before = self._kept.popleft().position
        if read:
            self.last = read[-1].position

    async def _read(self, seen: Position) -> list[Placed]:
        position = {"claim": seen.claim, "ordinal": seen.ordinal}
        rows = await self._database.run(_AFTER, task=self.task_id, limit=SHARE, **position)
        return [_placed(row) for row in rows]


def _placed(row: Mapping[str, Any]) -> Placed:
    line = LogLine(row["logged_at"], row["level"], row["message"])
    return Placed(Position(row["claim"], row["ordinal"]), line)


async def with_news(database: Database, feeds: Sequence[LogFeed]) -> list[UUID]:
    """The tasks that have logged what their feed has not read. Raises ServerUnavailable."""
    if not feeds:
        return []
    rows = await database.run(
        _WITH_NEWS,
        task=[feed.task_id for feed in feeds],
        claim=[feed.last.claim for feed in feeds],
        ordinal=[feed.last.ordinal for feed in feeds],
    )
    return [row["task"] for row in rows]


def levels_from(lowest: str) -> frozenset[str]:
    return frozenset(LEVELS[LEVELS.index(lowest) :])
