"""Limits the range of times that the leading scheduler reads from an index of waiting tasks.

A task that leaves its place, for example because a worker claims it, leaves its entry in the index
of that place until vacuum removes the entry, and vacuum waits for the oldest open snapshot. A backup
that takes ten minutes leaves 600,000 such entries at 1,000 tasks/s, and reading them takes 90 ms.
Therefore the scheduler reads only times after a cursor, before which no task waits any more.
"""

from collections import deque
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.backlog import BEGINNING

#: Default length of a window, a range of times before the cursor. Each query reads one window again.
#: This finds a task that appears behind the cursor nevertheless, because its transaction took longer
#: than expected, or because an operator changed its row with SQL.
WINDOW = timedelta(seconds=10)
#: Number of the newest windows. Every other query reads one of these, in turn, because tasks appear
#: there more often than in older ones.
NEWEST = 4
#: The time before the cursor that is divided into windows. Older windows are merged into one.
DIVIDED = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Look:
    """The times that one query reads: all times after `after`, and one earlier window."""

    after: datetime
    window_start: datetime
    window_end: datetime


class IndexCursor:
    """The time before which no task waits any more, and the windows before it."""

    def __init__(self, window: timedelta = WINDOW) -> None:
        """Queries that run rarely need longer windows, so that all of them get their turn in time."""
        self._window = window
        self._max_windows = DIVIDED // window
        self.restart()

    def restart(self) -> None:
        """Start again at the earliest time.

        Called when this process becomes the leader, because another process may have led in the
        meantime.
        """
        self.after = BEGINNING
        #: End times of the windows, oldest first. Each window begins at the end of the previous
        #: one; the first one begins at BEGINNING.
        self._ends: deque[datetime] = deque()
        self._looks = 0
        #: Index of the next window in the cycle through all windows.
        self._position = 0

    def restart_if_ahead_of(self, now: datetime) -> bool:
        """Start again if the cursor is ahead of Postgres's clock, which was therefore set back.

        Tasks that start to wait from now on would otherwise appear behind the cursor. Returns True
        if it was ahead.
        """
        if self.after <= now:
            return False
        self.restart()
        return True

    def look(self) -> Look:
        """Return the times that the next query has to read."""
        if not self._ends:
            return Look(self.after, BEGINNING, BEGINNING)
        turn, is_newest = divmod(self._looks, 2)
        self._looks += 1
        number = self._newest(turn) if is_newest else self._next()
        start = self._ends[number - 1] if number else BEGINNING
        return Look(self.after, start, self._ends[number])

    def _newest(self, turn: int) -> int:
        """Return the index of one of the newest windows."""
        count = len(self._ends)
        return count - 1 - turn % min(NEWEST, count)

    def _next(self) -> int:
        """Return the index of the next window in the cycle through all windows.

        The cycle has a position of its own. A number of queries modulo the number of windows would
        keep selecting the oldest windows while windows are added, that is, during the first hour.
        """
        number = self._position if self._position < len(self._ends) else 0
        self._position = number + 1
        return number

    def note_empty(self, until: datetime) -> None:
        """Move the cursor forward, because no task with a time up to `until` waits any more."""
        if until - self.after < self._window:
            return
        self.after = until
        self._ends.append(until)
        if len(self._ends) > self._max_windows:
            # The oldest window becomes a part of the next one, so each window is one place earlier.
            self._ends.popleft()
            self._position = max(0, self._position - 1)
