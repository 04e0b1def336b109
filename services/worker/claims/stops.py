"""Decides when this worker stops fetching ordinary tasks so that a suspect can run alone. Pure.

A suspect needs a worker that holds nothing. A worker stops for one only while it can expect to be idle soon,
and afterwards fetches for as long as it stopped.
"""

#: A worker whose bodies are all younger than this is expected to be idle soon.
YOUNG_S = 10.0
#: Longest time for which a worker that stopped keeps to ordinary tasks afterwards.
MAX_REST_S = 10.0


class Stops:
    """The stops of one worker; times are of one monotonic clock."""

    def __init__(self) -> None:
        self._suspects_since: float | None = None
        self._stopped_at: float | None = None
        self._rests_until = float("-inf")

    def may_stop(self, now: float, *, oldest_s: float) -> bool:
        """Whether a suspect is worth a stop; `oldest_s` is the age of the body that began first.

        A body that has run for some time is expected to run for as long again. A suspect that has waited
        for longer than the oldest body has run is therefore worth the wait for its end.
        """
        waited_s = now - self._suspects_since if self._suspects_since is not None else 0.0
        return now >= self._rests_until and oldest_s <= max(YOUNG_S, waited_s)

    def note(self, now: float, *, suspects: bool, stops: bool) -> None:
        """Note what a fetch answered: whether suspects wait, and whether this worker stops for one."""
        if not suspects:
            self._suspects_since = None
        elif self._suspects_since is None:
            self._suspects_since = now
        if not stops:
            self.resume(now)
        elif self._stopped_at is None:
            self._stopped_at = now

    def resume(self, now: float) -> None:
        """The stop is over, with or without a suspect."""
        if self._stopped_at is not None:
            self._rests_until = now + min(now - self._stopped_at, MAX_REST_S)
            self._stopped_at = None
