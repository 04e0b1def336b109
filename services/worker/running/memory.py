"""Notices that a worker process exceeds its memory limit, and finds the responsible task body.

The process then drains (it takes no new tasks) and replaces itself. Task bodies that end within the
grace period end as usual. Of the bodies that still run after it, at most one is held responsible:
its attempt fails with the error kind `memory`. The others are interrupted, and their tasks run
again.
"""

import logging
import time
from collections.abc import Callable, Iterable

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from shared.errors import MemoryLimitExceeded

log = logging.getLogger(__name__)

MB = 2**20
#: A task body is held responsible only if, while it ran, the process grew by at least this share of
#: the memory that is available to tasks. A slow leak over many tasks is therefore not blamed on a
#: single body. If a body by itself needs too much memory, the next process that runs it also
#: exceeds its limit, and the body is found there.
GUILTY_SHARE = 0.5


class MemoryLimit:
    """Compares the memory use of this process with its limit. Use it only from the main thread."""

    def __init__(self, claims: Claims, limit_mb: int, used: Callable[[], int]) -> None:
        """Create the instance before the first task body runs.

        `used` returns the memory use of the process in bytes. A limit of 0 means that there is no
        limit.
        """
        self._claims = claims
        self._limit = limit_mb * MB
        self._used = used
        #: Memory use of the process in bytes, before the first task body ran and at the last check.
        self._idle = self._last = used()
        self._exceeded = False

    def exceeded(self) -> bool:
        """True if the process uses more memory than its limit.

        Call this often, because it also records the memory use at the beginning of each task body.
        """
        if not self._limit:
            return False
        size = self._used()
        for attempt in self._claims.running():
            if attempt.memory_before is None:
                attempt.memory_before = self._last
        self._last = size
        if size > self._limit and not self._exceeded:
            self._exceeded = True
            log.warning(
                "this worker uses %d MB, more than its limit of %d MB; it drains and replaces itself",
                size // MB,
                self._limit // MB,
            )
        return size > self._limit

    def blame(self) -> None:
        """Set MemoryLimitExceeded as the fault of the responsible attempt, if there is one.

        Called when the grace period of the drain is over.
        """
        size = self._used() if self._exceeded else 0
        if size <= self._limit:
            return
        guilty = culprit(self._claims.running(), size, self._limit - self._idle, time.monotonic())
        if guilty is not None and guilty.fault is None:
            grown = size - (guilty.memory_before or 0)
            guilty.fault = MemoryLimitExceeded(self._limit // MB, grown // MB)
            log.warning(
                "a task is held responsible and fails: the worker grew by %d MB while it ran",
                grown // MB,
                extra=guilty.fields,
            )


def culprit(attempts: Iterable[Attempt], size: int, room: int, now: float) -> Attempt | None:
    """Return the running attempt that made the process grow to `size`, or None if no attempt did.

    `room` is the limit minus the size of the idle process. If the process grew enough during
    several attempts, the one with the most growth at the fastest rate is chosen. A body that slept
    for an hour saw the same growth as one that began a minute ago, but at a slower rate. A body
    that has just begun saw only a little of the growth.
    """
    best, weight = None, 0.0
    for attempt in attempts:
        grown = size - attempt.memory_before if attempt.memory_before is not None else 0
        if room > 0 and grown >= GUILTY_SHARE * room:
            score = grown**2 / max(now - attempt.started_monotonic, 0.001)
            if score > weight:
                best, weight = attempt, score
    return best
