"""Notices an async body that blocks the event loop, and with it every other async body of the process."""

import asyncio
import logging
import sys
import time
import traceback
from typing import Self

from dramatiq.asyncio import EventLoopThread, get_event_loop_thread

from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: The loop counts as blocked after this long. asyncio's own limit for a slow callback is 0.1 s, but on a
#: loaded machine a thread may wait for that long although no body blocks.
BLOCKED_S = 1.0


class LoopWatch:
    """Sends the loop a call and sees how long the answer takes. Used by the main thread."""

    def __init__(self, thread: EventLoopThread) -> None:
        self.thread = thread
        self._asked = time.monotonic()
        self._answered: float | None = self._asked
        self._reported = False

    @classmethod
    def of_bodies(cls) -> Self:
        """For the loop of async bodies, which runs by now."""
        thread = get_event_loop_thread()
        assert thread is not None
        return cls(thread)

    def look(self) -> None:
        """Call this more often than every BLOCKED_S seconds."""
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
            "%s has blocked the event loop for %.1f s; every async body of this worker waits. It must await, "
            "or run blocking calls with asyncio.to_thread. The loop's thread is at\n%s",
            task.get_name() if task is not None else "a callback",
            blocked_s,
            "".join(traceback.format_stack(frame)) if frame is not None else "unknown",
        )
