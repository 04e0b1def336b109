"""Ends bodies that run too long, or on after a cancel: first by an interrupt, then with the process."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Mapping
from datetime import timedelta
from enum import Enum
from typing import Any

from services.worker.claims.holdings import Holding, Holdings
from services.worker.clock import DatabaseClock
from services.worker.recording.record import Entry, Row
from services.worker.registry import TaskFunction
from services.worker.running.executor import interrupt
from services.worker.running.lifecycle import interrupted
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: How long a body that was told of its cancelling may take to look and return.
CANCEL_GRACE_S = 5.0
#: How long an interrupted body may take to end before its process is replaced.
INTERRUPT_GRACE_S = 5.0

#: Nobody reads the metrics of a process that is replaced in a moment: how long cancelling took until then
#: goes over the exec in this environment variable.
VARIABLE = "WORKER_CANCEL_SECONDS"


class Rung(Enum):
    """What is done about a running body."""

    WAIT = 1
    INTERRUPT = 2
    #: It does not heed the interrupt: only the end of its process ends it.
    REPLACE = 3


def rung(holding: Holding, limit: timedelta, now: float) -> Rung:
    """Decide at `now` (monotonic) about a body that may run for `limit`."""
    if not holding.started_monotonic:
        return Rung.WAIT
    if holding.interrupted_monotonic is not None:
        heeds = now < holding.interrupted_monotonic + INTERRUPT_GRACE_S
        return Rung.WAIT if heeds else Rung.REPLACE
    return Rung.INTERRUPT if now >= due_monotonic(holding, limit) else Rung.WAIT


def due_monotonic(holding: Holding, limit: timedelta) -> float:
    """When the interrupt is due."""
    due = holding.started_monotonic + limit.total_seconds()
    if holding.cancelled_monotonic is not None:
        due = min(due, max(holding.cancelled_monotonic, holding.started_monotonic) + CANCEL_GRACE_S)
    return due


class Overtime:
    """Climbs the rungs for every body of this process."""

    def __init__(
        self, holdings: Holdings, tasks: Mapping[str, TaskFunction[Any, Any]], clock: DatabaseClock
    ) -> None:
        self._holdings = holdings
        self._tasks = tasks
        self._clock = clock
        for seconds in os.environ.pop(VARIABLE, "").split():
            metrics.CANCEL_SECONDS.labels("process").observe(float(seconds))

    def keep_limits(self) -> bool:
        """Interrupt what is due; True when only the end of the process ends a body."""
        hopeless = False
        for holding in self._holdings.running():
            match self._rung(holding):
                case Rung.INTERRUPT:
                    self._interrupt(holding)
                case Rung.REPLACE:
                    text = "%s does not heed the interrupt: this process is replaced. Its thread is at\n%s"
                    log.warning(text, holding, _stack_of(holding))
                    hopeless = True
        return hopeless

    def _interrupt(self, holding: Holding) -> None:
        holding.overran = not holding.cancel_requested
        if interrupt(holding):  # else its body has not begun yet, or has just ended
            holding.interrupted_monotonic = time.monotonic()
            why = "was cancelled" if holding.cancel_requested else "has used up its time limit"
            log.warning("%s is interrupted: it %s and runs on", holding, why)

    def may_end(self, holding: Holding) -> bool:
        """False for a body that heeds no interrupt."""
        return self._rung(holding) is not Rung.REPLACE

    def last_will(self, holding: Holding) -> Row:
        """What is to be written of a body that ends with this process."""
        now = self._clock.now()
        if holding.cancel_requested_at is not None:
            seconds = (now - holding.cancel_requested_at).total_seconds()
            os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')} {seconds}"
        ran_s = time.monotonic() - holding.started_monotonic if holding.started_at else None
        entry = Entry(holding)
        entry.note_end(interrupted(holding, self._tasks[holding.name].contract, now), now, ran_s)
        assert entry.row is not None
        return entry.row

    def _rung(self, holding: Holding) -> Rung:
        return rung(holding, self._tasks[holding.name].contract.time_limit, time.monotonic())


def _stack_of(holding: Holding) -> str:
    frame = sys._current_frames().get(holding.thread or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "unknown"
