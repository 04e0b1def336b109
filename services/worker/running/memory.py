"""Notices that this process has grown too large, and finds the body that made it so.

The process then drains and replaces itself. Bodies that end within the grace period end as usual. Of those
that do not, one at most is to blame: it has failed with the kind `memory`, and the others are only
interrupted and run again.
"""

import logging
import time
from collections.abc import Callable, Iterable

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from shared.errors import MemoryLimitExceeded

log = logging.getLogger(__name__)

MB = 2**20
#: A body is to blame only if the process grew by this share of its room while the body ran. A slow leak of
#: many tasks is no body's fault. A body that needs too much by itself is caught in the next, fresh process.
GUILTY_SHARE = 0.5


class MemoryLimit:
    """Compares the size of this process with its limit. Used by the main thread only."""

    def __init__(self, claims: Claims, limit_mb: int, used: Callable[[], int]) -> None:
        """Make it before the first body runs.

        `used` returns the size of the process in bytes. A limit of 0 means no limit.
        """
        self._claims = claims
        self._limit = limit_mb * MB
        self._used = used
        #: Size before the first body, and at the last look.
        self._idle = self._last = used()
        self._exceeded = False

    def exceeded(self) -> bool:
        """Compare the size with the limit. Call this often: it also notes what each body began with."""
        if not self._limit:
            return False
        size = self._used()
        for attempt in self._claims.running():
            if attempt.memory_before is None:
                attempt.memory_before = self._last
        self._last = size
        if size > self._limit and not self._exceeded:
            self._exceeded = True
            log.warning("this worker uses %d MB, more than its limit of %d", size // MB, self._limit // MB)
        return size > self._limit

    def blame(self) -> None:
        """Give the body to blame its fault; called when the grace period is over."""
        size = self._used() if self._exceeded else 0
        if size <= self._limit:
            return
        guilty = culprit(self._claims.running(), size, self._limit - self._idle, time.monotonic())
        if guilty is not None and guilty.fault is None:
            grown = size - (guilty.memory_before or 0)
            guilty.fault = MemoryLimitExceeded(self._limit // MB, grown // MB)
            log.warning("%s is to blame: the worker grew by %d MB while it ran", guilty, grown // MB)


def culprit(attempts: Iterable[Attempt], size: int, room: int, now: float) -> Attempt | None:
    """Of the running attempts the one that made the process grow to `size`; None when none did.

    `room` is what the limit leaves beside the idle process. Among several candidates it is the one during
    whose run the process grew most and fastest: one that slept for an hour saw the same growth as one that
    began a minute ago, but slower, and one that has just begun saw little of it.
    """
    best, weight = None, 0.0
    for attempt in attempts:
        grown = size - attempt.memory_before if attempt.memory_before is not None else 0
        if room > 0 and grown >= GUILTY_SHARE * room:
            score = grown**2 / max(now - attempt.started_monotonic, 0.001)
            if score > weight:
                best, weight = attempt, score
    return best
