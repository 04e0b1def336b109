"""Keeps the background loops of the API, the worker and the scheduler running.

A loop never ends its process and never ends by itself. If a round of a loop raises an error, the
error is logged with its traceback and counted, and the next round follows after a pause. The pause
grows as long as rounds fail. `stalled` reports loops that no longer make progress, for health
checks.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from shared.errors import ServerUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Pause in seconds after the first failed round of a loop. It doubles with each further failure, up
#: to the second number.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0
#: Number of seconds after which a loop counts as stalled if its round has not ended. A round
#: consists of a few statements of at most 5 s each.
STALL_S = 60.0


class Keeper:
    """The background loops of one process.

    `stalled` may be called from any thread; all other methods only from the event loop.
    """

    def __init__(self) -> None:
        self._turned: dict[str, float] = {}
        self._expected: dict[str, float] = {}

    async def keep(
        self,
        name: str,
        run_once: Callable[[], Awaitable[object]],
        *,
        every_s: float = 0.0,
        stop: asyncio.Event | None = None,
        stall_s: float = STALL_S,
    ) -> None:
        """Run the rounds of a loop until it is canceled or `stop` is set.

        If `run_once` returns True, the next round follows immediately; otherwise, it follows after
        `every_s` seconds.
        """
        self._expected[name] = stall_s + every_s
        metrics.LOOP_ERRORS.labels(name)
        failures = 0
        try:
            while stop is None or not stop.is_set():
                self._turned[name] = time.monotonic()
                try:
                    at_once = await run_once()
                except Exception as error:  # noqa: BLE001 - a loop outlives whatever a round meets
                    pause = max(every_s, _pause_after(failures))
                    failures += 1
                    _report(name, error, failures)
                else:
                    if failures:
                        log.info("the background loop %s works again after %d failed rounds", name, failures)
                    failures = 0
                    pause = 0.0 if at_once is True else every_s
                _raise_if_canceled()
                await _pause(pause, stop)
        finally:
            self._turned.pop(name, None)

    def turned(self, name: str) -> None:
        """Record that a long round of this loop has made progress."""
        if name in self._turned:
            self._turned[name] = time.monotonic()

    def stalled(self) -> list[str]:
        """Return the names of the loops that have ended or have made no progress for too long."""
        now = time.monotonic()
        ages = {name: now - self._turned.get(name, float("-inf")) for name in self._expected}
        return sorted(name for name, age in ages.items() if age > self._expected[name])


def _pause_after(failures: int) -> float:
    """The pause in seconds after one more failed round. `failures` rounds have failed before it.

    The exponent is limited, because an outage of 90 minutes makes more than 1,024 rounds fail, and
    2**1024 is too large for a float.
    """
    return min(FIRST_PAUSE_S * 2.0 ** min(failures, 64), MAX_PAUSE_S)


def _report(name: str, error: Exception, failures: int) -> None:
    """Log the 1st, 2nd, 4th, 8th … consecutive failed round of a loop.

    A long outage therefore does not flood the log. If a server is unavailable, one line is logged.
    Any other error is a bug and is logged with its traceback.
    """
    metrics.LOOP_ERRORS.labels(name).inc()
    if failures & (failures - 1):
        return
    if isinstance(error, ServerUnavailable):
        log.warning(
            "the background loop %s fails and is tried again: %s (%d consecutive failures)",
            name,
            error,
            failures,
        )
    else:
        text = "the background loop %s failed; the next round follows (%d consecutive failures)"
        log.error(text, name, failures, exc_info=error)


def _raise_if_canceled() -> None:
    """End a loop even if its current round ignores the cancellation.

    In Python 3.11, `asyncio.wait_for` ignores a cancellation if the awaited operation ends at the
    same moment, and redis-py uses it for writes.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _pause(seconds: float, stop: asyncio.Event | None) -> None:
    """Sleep, but wake up early when `stop` is set. Always yields to the event loop."""
    if stop is None or seconds <= 0:
        await asyncio.sleep(max(0.0, seconds))
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
