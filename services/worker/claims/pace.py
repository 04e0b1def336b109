"""Decides whether a worker whose interpreter is kept fetches. Pure.

While one body keeps the interpreter, nothing else in its process runs in time: not the thread of a claim, nor
the loop that would give the claim back. Such a worker leaves the work to others. It fetches now and then all
the same, since there may be no other.
"""

#: A round of a loop that comes later than this finds the interpreter kept: a claim would begin as late.
KEPT_S = 0.2
#: A worker whose interpreter is kept fetches this often.
KEPT_FETCH_S = 5.0


class Pace:
    """The pace of one worker; times are of one monotonic clock."""

    def __init__(self, *, every_s: float) -> None:
        """`every_s`: interval of the rounds that `note_round` records."""
        self._every_s = every_s
        self._round_at: float | None = None
        self._late_s = 0.0
        self._fetched_at = float("-inf")

    def note_round(self, now: float) -> None:
        """A round of the loop began."""
        self._late_s = self._overdue_s(now)
        self._round_at = now

    def note_fetch(self, now: float) -> None:
        self._fetched_at = now

    def is_kept(self, now: float) -> bool:
        """Whether the last round came late, or the next one is late by now."""
        return max(self._late_s, self._overdue_s(now)) >= KEPT_S

    def may_fetch(self, now: float) -> bool:
        return not self.is_kept(now) or now - self._fetched_at >= KEPT_FETCH_S

    def _overdue_s(self, now: float) -> float:
        return 0.0 if self._round_at is None else now - self._round_at - self._every_s
