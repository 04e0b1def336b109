"""Drains a worker before it exits.

The worker stops fetching, lets task bodies finish, interrupts those that take too long, writes all
outcomes, and gives back claims that have not started.
"""

import concurrent.futures
import logging
import time
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

from services.worker.claims.claims import Claims
from services.worker.claims.fetcher import Fetcher
from services.worker.recording.inbox import Inbox
from services.worker.recording.record import Row
from services.worker.recording.recorder import Recorder
from services.worker.running.broker import pass_outcome
from services.worker.running.interrupts import interrupt
from services.worker.running.memory import MemoryLimit
from services.worker.running.time_limits import TimeLimits
from shared.ledger.tally import Tally

log = logging.getLogger(__name__)

#: How many seconds interrupted task bodies may take to end, and how many seconds the recorder may
#: take to write the last outcomes. With the default grace of 5 s, and 1 to 2 s for the handover
#: (writing outcomes after the exit), a worker stops within 10 s, the default limit of `docker
#: stop`.
INTERRUPT_S, FLUSH_S = 1.0, 2.0


class Drain:
    """Carries out the drain. It runs once, in the main thread."""

    def __init__(
        self,
        claims: Claims,
        fetcher: Fetcher,
        inbox: Inbox,
        recorder: Recorder,
        tally: Tally,
        time_limits: TimeLimits,
        memory: MemoryLimit,
        grace: timedelta,
        on_loop: Callable[[Coroutine[Any, Any, Any]], Any],
    ) -> None:
        self._claims = claims
        self._fetcher = fetcher
        self._inbox = inbox
        self._recorder = recorder
        self._tally = tally
        self._time_limits = time_limits
        self._memory = memory
        self._grace = grace
        self._on_loop = on_loop
        #: Outcomes of attempts whose bodies do not end before this process exits. They are written
        #: after the exit, see `running.handover`.
        self.handed_over: list[Row] = []

    def run(self, fetching: "concurrent.futures.Future[None]") -> bool:
        """Drain the worker. Returns True if nothing is left for the rescuer or for a handover."""
        self._claims.close()
        self._on_loop(self._fetcher.stop())
        fetching.cancel()
        self._fetcher.give_back(self._claims.withdraw(), reason="drain")
        self._wait_for_bodies(self._grace.total_seconds())
        self._memory.blame()
        for attempt in self._claims.running():
            interrupt(attempt)
        self._wait_for_bodies(INTERRUPT_S)
        self._record_decided()
        flushed = self._on_loop(self._recorder.flush(FLUSH_S))
        self._on_loop(self._tally.flush(FLUSH_S))
        stuck = self._claims.running()
        if stuck:
            log.warning(
                "%d tasks ignore the interrupt; they end with this process, and their outcomes are "
                "written after it",
                len(stuck),
            )
            self.handed_over = [self._time_limits.final_row(attempt) for attempt in stuck]
        elif not flushed or len(self._claims):
            log.warning(
                "not all outcomes could be written; the rescuer takes back %d tasks", len(self._claims)
            )
        else:
            return True
        return False

    def _record_decided(self) -> None:
        """Record the outcomes of tasks whose bodies have ended, without waiting for their hooks."""
        for attempt in self._claims.running():
            if attempt.outcome is not None:
                log.warning(
                    "a hook does not return; it ends with this process, and the outcome of its task is "
                    "recorded",
                    extra=attempt.fields,
                )
                pass_outcome(self._claims, self._inbox, attempt)

    def _wait_for_bodies(self, seconds: float) -> None:
        """Wait until all task bodies have ended or the time is over.

        Bodies that ignore the interrupt are not waited for.
        """
        deadline = time.monotonic() + seconds
        while any(self._time_limits.may_end(attempt) for attempt in self._claims.running()):
            if time.monotonic() > deadline:
                return
            time.sleep(0.02)
