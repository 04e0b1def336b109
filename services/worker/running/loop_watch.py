"""Notices an async task body that blocks the event loop of all async task bodies in the process."""

import asyncio
import logging
import sys
import time
import traceback
from typing import Self

from dramatiq.asyncio import EventLoopThread, get_event_loop_thread

from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: Delay in seconds after which the event loop counts as blocked. In debug mode, asyncio reports
#: callbacks that take longer than 0.1 s. On a loaded machine, however, the loop's thread may wait
#: that long for the processor although no task body blocks it.
BLOCKED_S = 1.0


class LoopWatch:
    """Schedules a call on the event loop of async task bodies and measures how late it runs.

    Use it only from the main thread.
    """

    def __init__(self, thread: EventLoopThread) -> None:
        self.thread = thread
        self._asked = time.monotonic()
        self._answered: float | None = self._asked
        self._reported = False

    @classmethod
    def of_bodies(cls) -> Self:
        """Create a watch for the event loop of async task bodies, which must be running."""
        thread = get_event_loop_thread()
        assert thread is not None
        return cls(thread)

    def look(self) -> None:
        """Check once whether the event loop is blocked, and log a warning if it is.

        Call this more often than every BLOCKED_S seconds.
        """
        answered = self._answered
        if answered is None:
            blocked_s = time.monotonic() - self._asked
            if blocked_s >= BLOCKED_S and not self._reported:
                self._report(blocked_s)
            return
        if answered - self._asked >= BLOCKED_S:
            metrics.EVENT_LOOP_BLOCKED_SECONDS.observe(answered - self._asked)
        self._answered, self._reported = None, False
        self._asked = time.monotonic()
        self.thread.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered = time.monotonic()

    def _report(self, blocked_s: float) -> None:
        self._reported = True
        task = asyncio.current_task(self.thread.loop)
        frame = sys._current_frames().get(self.thread.ident or 0)
        log.warning(
            "%s has blocked the event loop for %.1f s; all async task bodies of this worker wait. It must "
            "await, or run blocking calls with asyncio.to_thread. The loop's thread is at\n%s",
            "a callback" if task is None else "a task body",
            blocked_s,
            "".join(traceback.format_stack(frame)) if frame is not None else "unknown",
            extra={} if task is None else {"body": task.get_name()},
        )
