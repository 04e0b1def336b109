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

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.recording.record import Entry, Row
from services.worker.registry import TaskFunction
from services.worker.running.executor import interrupt
from services.worker.running.lifecycle import interrupted
from shared.errors import TimeLimitExceeded
from shared.ledger.database import Database
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: How long a canceled body may take to notice and return.
CANCEL_GRACE_S = 5.0
#: How long an interrupted body may take to end before its process is replaced.
INTERRUPT_GRACE_S = 5.0

#: Environment variable that carries durations of cancellations over the exec: Prometheus does not read a
#: process again that is replaced in a moment.
VARIABLE = "WORKER_CANCEL_SECONDS"


class Step(Enum):
    """What is done about a running body."""

    WAIT = 1
    INTERRUPT = 2
    #: It ignores the interrupt: only the end of its process ends it.
    REPLACE = 3


def step(attempt: Attempt, limit: timedelta, now: float) -> Step:
    """Decide at `now` (monotonic) about a body that may run for `limit`."""
    if not attempt.started_monotonic:
        return Step.WAIT
    if attempt.interrupted_monotonic is not None:
        waits = now < attempt.interrupted_monotonic + INTERRUPT_GRACE_S
        return Step.WAIT if waits else Step.REPLACE
    return Step.INTERRUPT if now >= due_monotonic(attempt, limit) else Step.WAIT


def due_monotonic(attempt: Attempt, limit: timedelta) -> float:
    """When the interrupt is due."""
    due = attempt.started_monotonic + limit.total_seconds()
    if attempt.cancelled_monotonic is not None:
        due = min(due, max(attempt.cancelled_monotonic, attempt.started_monotonic) + CANCEL_GRACE_S)
    return due


class TimeLimits:
    """Escalates step by step for every body of this process."""

    def __init__(
        self, claims: Claims, tasks: Mapping[str, TaskFunction[Any, Any]], database: Database
    ) -> None:
        self._claims = claims
        self._tasks = tasks
        self._database = database
        for seconds in os.environ.pop(VARIABLE, "").split():
            metrics.CANCEL_SECONDS.labels("process").observe(float(seconds))

    def keep(self) -> bool:
        """Interrupt what is due; True when only the end of the process ends a body."""
        hopeless = False
        for attempt in self._claims.running():
            match self._step(attempt):
                case Step.INTERRUPT:
                    self._interrupt(attempt)
                case Step.REPLACE:
                    text = "%s ignores the interrupt; this process is replaced. Its thread is at\n%s"
                    log.warning(text, attempt, _stack_of(attempt))
                    hopeless = True
        return hopeless

    def _interrupt(self, attempt: Attempt) -> None:
        if not attempt.cancel_requested:
            attempt.fault = TimeLimitExceeded(self._tasks[attempt.name].contract.time_limit)
        if interrupt(attempt):  # else its body has not begun yet, or has just ended
            attempt.interrupted_monotonic = time.monotonic()
            why = "was cancelled" if attempt.cancel_requested else "has used up its time limit"
            log.warning("%s is interrupted: it %s and runs on", attempt, why)

    def may_end(self, attempt: Attempt) -> bool:
        """False for a body that ignores the interrupt."""
        return self._step(attempt) is not Step.REPLACE

    def final_row(self, attempt: Attempt) -> Row:
        """What is to be written of a body that ends with this process."""
        now = self._database.now()
        if attempt.cancel_requested_at is not None:
            seconds = (now - attempt.cancel_requested_at).total_seconds()
            os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')} {seconds}"
        ran_s = time.monotonic() - attempt.started_monotonic if attempt.started_at else None
        entry = Entry(attempt)
        entry.note_end(interrupted(attempt, self._tasks[attempt.name].contract, now), now, ran_s)
        assert entry.row is not None
        return entry.row

    def _step(self, attempt: Attempt) -> Step:
        return step(attempt, self._tasks[attempt.name].contract.time_limit, time.monotonic())


def _stack_of(attempt: Attempt) -> str:
    frame = sys._current_frames().get(attempt.thread or 0)
    return "".join(traceback.format_stack(frame)) if frame is not None else "unknown"
