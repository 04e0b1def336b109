"""Reads new log lines of tasks once for all event streams of this process.

The lines from before the start of a stream are read separately for that stream, from its own
position.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from services.api.tasks.attempt_view import LEVELS
from services.api.tasks.schemas import LogLine
from shared.ledger.database import Database
from shared.ledger.statement import Statement

#: Maximum number of log lines that one statement reads, and that one message contains.
SHARE = 500
#: Number of log lines that are kept in memory for streams that are a little behind. Slower streams
#: read their lines separately.
KEPT = 1_000

_AFTER = Statement("""
    SELECT claim, ordinal, logged_at, level, message FROM task_log
    WHERE task_id = :task AND (claim, ordinal) > (:claim, :ordinal) ORDER BY claim, ordinal LIMIT :limit
""")

#: Reads the position of the last log line of a task.
_LAST = Statement("""
    SELECT claim, ordinal FROM task_log WHERE task_id = :task ORDER BY claim DESC, ordinal DESC LIMIT 1
""")

#: Finds the tasks that have log lines after the given positions.
_WITH_NEWS = Statement("""
    SELECT g.task
    FROM unnest(:task::uuid[], :claim::integer[], :ordinal::integer[]) AS g(task, claim, ordinal)
    WHERE EXISTS (
        SELECT FROM task_log AS l WHERE l.task_id = g.task AND (l.claim, l.ordinal) > (g.claim, g.ordinal)
    )
""")


class Position(NamedTuple):
    """The position of a log line among all log lines of its task."""

    claim: int = 0
    ordinal: int = 0


#: The position before the first log line of a task.
START = Position()


class Placed(NamedTuple):
    position: Position
    line: LogLine


class LogFeed:
    """Reads the new log lines of one task for all streams that follow it. Use it only from one
    event loop.
    """

    def __init__(self, database: Database, task_id: UUID) -> None:
        self._database = database
        self.task_id = task_id
        self._kept: deque[Placed] = deque()
        #: The position before the first line in memory, and the position of the last line. Both
        #: start at the task's last line at the time of the first read. They do not start at the
        #: position of a stream, because clients can choose that freely.
        self._before = self.last = START
        self._has_begun = False
        self._stale = True
        self._reading = asyncio.Lock()

    def note_new(self) -> None:
        """Note that the task may have log lines that were not read yet."""
        self._stale = True

    async def after(self, seen: Position) -> list[Placed]:
        """Return the log lines after a position, at most SHARE of them. If there are fewer than
        SHARE, no further lines exist yet. Raises ServerUnavailable.
        """
        async with self._reading:
            if not self._has_begun:
                await self._begin()
            # Lines after `seen` may already be in memory, read for another stream. Only read more
            # if they are too few.
            while self._stale and seen >= self._before and len(self._found(seen)) < SHARE:
                await self._read_on()
        return await self._read(seen) if seen < self._before else self._found(seen)

    async def _begin(self) -> None:
        for row in await self._database.run(_LAST, task=self.task_id):
            self._before = self.last = Position(row["claim"], row["ordinal"])
        self._has_begun = True

    def _found(self, seen: Position) -> list[Placed]:
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
    """Find the tasks that have log lines which their feed has not read yet. Raises
    ServerUnavailable.
    """
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
