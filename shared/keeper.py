"""Keeps background loops turning: the one helper that runs every loop of API, worker and scheduler.

No loop ends its process, and none ends by itself. A round that raises is logged with its traceback and
counted; the next one comes after a pause that grows while rounds keep failing. `stalled` says which loops
have stopped turning, for health checks.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from shared.errors import ServerUnavailable
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Pause after the first failed round; it doubles with each further one, up to the second number.
FIRST_PAUSE_S, MAX_PAUSE_S = 0.5, 5.0
#: A loop whose round takes longer than this counts as stalled. A round is a few statements of 5 s at most.
STALL_S = 60.0


class Keeper:
    """The loops of one process. `stalled` may be called from any thread, the rest from the event loop."""

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
        """Run rounds of a loop until canceled, or until `stop` is set.

        `run_once` returns True to ask for the next round at once; otherwise it follows after `every_s`
        seconds.
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
                    pause = max(every_s, min(FIRST_PAUSE_S * 2**failures, MAX_PAUSE_S))
                    failures += 1
                    _report(name, error, failures)
                else:
                    if failures:
                        log.info("%s works again after %d failed rounds", name, failures)
                    failures = 0
                    pause = 0.0 if at_once is True else every_s
                _raise_if_canceled()
                await _pause(pause, stop)
        finally:
            self._turned.pop(name, None)

    def turned(self, name: str) -> None:
        """A long round of this loop has made progress."""
        if name in self._turned:
            self._turned[name] = time.monotonic()

    def stalled(self) -> list[str]:
        """The loops that have ended or have not turned for too long, by name."""
        now = time.monotonic()
        ages = {name: now - self._turned.get(name, float("-inf")) for name in self._expected}
        return sorted(name for name, age in ages.items() if age > self._expected[name])


def _report(name: str, error: Exception, failures: int) -> None:
    """Log the 1st, 2nd, 4th, 8th … failure in a row, so that a long outage does not flood the log.

    A server that is unavailable takes one line; anything else is a defect and comes with its traceback.
    """
    metrics.LOOP_ERRORS.labels(name).inc()
    if failures & (failures - 1):
        return
    if isinstance(error, ServerUnavailable):
        log.warning("%s: %s; tried again until it works (failure %d in a row)", name, error, failures)
    else:
        text = "%s failed; the next round follows (failure %d in a row)"
        log.error(text, name, failures, exc_info=error)


def _raise_if_canceled() -> None:
    """End the loop although its round swallowed the cancellation.

    `asyncio.wait_for` of Python 3.11 does so when what it waits for ends at the same moment, and redis-py
    writes with it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def _pause(seconds: float, stop: asyncio.Event | None) -> None:
    """Sleep, or less when `stop` is set meanwhile. Always yields to the event loop."""
    if stop is None or seconds <= 0:
        await asyncio.sleep(max(0.0, seconds))
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
