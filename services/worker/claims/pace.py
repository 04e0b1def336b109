"""Decides whether a worker fetches tasks while a task body blocks its Python interpreter.

While it is blocked, nothing else in the process runs in time: neither the thread of a newly claimed
task nor the loop that would give the claim back. Such a worker leaves waiting tasks to other
workers. If no other worker takes them, this may be the only one, so it fetches. The class has no
side effects.
"""

#: A loop round that begins later than planned by more than this many seconds shows that the
#: interpreter is blocked. A task that is claimed now would begin equally late.
KEPT_S = 0.2
#: Interval in seconds at which a blocked worker counts the waiting tasks.
LOOK_EVERY_S = 0.5
#: Number of counts in a row after which a blocked worker fetches. Each of them must be above zero
#: and not below the previous one, which shows that no other worker takes the tasks.
LOOKS = 5


class Pace:
    """Detects when the interpreter of this worker is blocked. All times come from the same
    monotonic clock.
    """

    def __init__(self, *, every_s: float) -> None:
        """`every_s` is the planned interval of the loop rounds that call `note_round`."""
        self._every_s = every_s
        self._round_at: float | None = None
        self._late_s = 0.0
        self._looked_at = float("-inf")
        self._waiting = 0
        self._looks = 0

    def note_round(self, now: float) -> None:
        """Note that a round of the loop has begun."""
        self._late_s = self._overdue_s(now)
        self._round_at = now
        if self._late_s < KEPT_S:
            self._looks = 0

    def is_kept(self, now: float) -> bool:
        """Return True if the interpreter is blocked.

        That is the case if the last loop round came late, or the next one is already overdue.
        """
        return max(self._late_s, self._overdue_s(now)) >= KEPT_S

    def may_look(self, now: float) -> bool:
        """Return True if it is time to count the waiting tasks again."""
        return now - self._looked_at >= LOOK_EVERY_S

    def is_left_alone(self, now: float, waiting: int) -> bool:
        """Note how many tasks wait. Returns True if no other worker has taken any for some time."""
        self._looked_at = now
        fewer, self._waiting = waiting < self._waiting, waiting
        if not waiting:
            self._looks = 0
        else:
            self._looks = 1 if fewer else self._looks + 1
        if self._looks < LOOKS:
            return False
        self._looks = 0
        return True

    def _overdue_s(self, now: float) -> float:
        return 0.0 if self._round_at is None else now - self._round_at - self._every_s
