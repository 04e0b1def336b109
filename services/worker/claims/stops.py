"""Decides when this worker stops fetching ordinary tasks, so that a suspect can run alone on it.

A suspect is a task whose worker died with it. It needs a worker that holds no other task. A worker
stops fetching for a suspect only if it can expect to be idle soon. Afterwards, it fetches ordinary
tasks for at least as long as it had stopped. The class has no side effects.
"""

#: A worker can expect to be idle soon if none of its task bodies has run for more than this many
#: seconds.
YOUNG_S = 10.0
#: Maximum number of seconds for which a worker, after it had stopped, does not stop again.
MAX_REST_S = 10.0


class Stops:
    """Decides about the stops of one worker. All times come from the same monotonic clock."""

    def __init__(self) -> None:
        self._suspects_since: float | None = None
        self._stopped_at: float | None = None
        self._rests_until = float("-inf")

    def may_stop(self, now: float, *, oldest_s: float) -> bool:
        """Return True if the worker should stop fetching for a suspect.

        `oldest_s` is how long the oldest running task body has run. It is expected to need the same
        time again. If a suspect has already waited for longer than that, it is worth waiting until
        the body ends.
        """
        waited_s = now - self._suspects_since if self._suspects_since is not None else 0.0
        return now >= self._rests_until and oldest_s <= max(YOUNG_S, waited_s)

    def note(self, now: float, *, suspects: bool, stops: bool) -> None:
        """Note the response to a fetch: whether suspects wait, and whether this worker stops for
        one.
        """
        if not suspects:
            self._suspects_since = None
        elif self._suspects_since is None:
            self._suspects_since = now
        if not stops:
            self.resume(now)
        elif self._stopped_at is None:
            self._stopped_at = now

    def resume(self, now: float) -> None:
        """End the current stop, whether or not a suspect ran."""
        if self._stopped_at is not None:
            self._rests_until = now + min(now - self._stopped_at, MAX_REST_S)
            self._stopped_at = None
