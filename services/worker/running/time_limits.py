"""Stops task bodies that exceed their time limit or continue after their task was canceled.

Such a body is first interrupted. If it ignores the interrupt, the worker process replaces itself,
which ends the body. A hook counts toward the time limit of its task, and is stopped in the same
way.
"""

import logging
import os
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
from services.worker.running import stacks
from services.worker.running.interrupts import interrupt
from services.worker.running.lifecycle import interrupted
from shared.errors import TimeLimitExceeded
from shared.ledger.database import Database
from shared.telemetry import metrics

log = logging.getLogger(__name__)

#: How long a task body may continue after its task was canceled, before it is interrupted.
CANCEL_GRACE_S = 5.0
#: How long an interrupted task body may take to end, before the worker process replaces itself.
INTERRUPT_GRACE_S = 5.0

#: Environment variable that passes the measured durations of cancellations to the program that
#: replaces this process. That program reports them, because Prometheus may not read the metrics of
#: this process again before it ends.
VARIABLE = "WORKER_CANCEL_SECONDS"


class Step(Enum):
    """The next step that the worker takes to stop a running task body."""

    WAIT = 1
    INTERRUPT = 2
    #: Replace the worker process, because the task body ignores the interrupt and nothing else
    #: stops it.
    REPLACE = 3


def step(attempt: Attempt, limit: timedelta, now: float) -> Step:
    """Choose the next step for an attempt with the time limit `limit`.

    `now` is a monotonic time.
    """
    if not attempt.started_monotonic:
        return Step.WAIT
    interrupted, hook = attempt.interrupted_monotonic, attempt.hook_monotonic
    if interrupted is not None and hook is not None and interrupted < hook:
        # The interrupt has ended the body. The hook that followed was not interrupted yet.
        return Step.WAIT if now < hook + INTERRUPT_GRACE_S else Step.INTERRUPT
    if interrupted is not None:
        return Step.WAIT if now < interrupted + INTERRUPT_GRACE_S else Step.REPLACE
    return Step.INTERRUPT if now >= due_monotonic(attempt, limit) else Step.WAIT


def due_monotonic(attempt: Attempt, limit: timedelta) -> float:
    """The monotonic time at which the task body of an attempt is to be interrupted."""
    due = attempt.started_monotonic + limit.total_seconds()
    if attempt.cancelled_monotonic is not None:
        due = min(due, max(attempt.cancelled_monotonic, attempt.started_monotonic) + CANCEL_GRACE_S)
    return due


class TimeLimits:
    """Enforces time limits and cancellations for all task bodies of this process."""

    def __init__(
        self, claims: Claims, tasks: Mapping[str, TaskFunction[Any, Any]], database: Database
    ) -> None:
        self._claims = claims
        self._tasks = tasks
        self._database = database
        for seconds in os.environ.pop(VARIABLE, "").split():
            metrics.CANCEL_SECONDS.labels("process").observe(float(seconds))

    def keep(self) -> bool:
        """Interrupt the task bodies that are out of time.

        Returns True if a body ignores its interrupt, so that only the end of the process stops it.
        """
        hopeless = False
        for attempt in self._claims.running():
            match self._step(attempt):
                case Step.INTERRUPT:
                    self._interrupt(attempt)
                case Step.REPLACE:
                    text = "%s ignores the interrupt; this process replaces itself. Its thread is at\n%s"
                    log.warning(text, _running_part(attempt), _stack_of(attempt), extra=attempt.fields)
                    hopeless = True
        return hopeless

    def _interrupt(self, attempt: Attempt) -> None:
        if not attempt.cancel_requested:
            attempt.fault = TimeLimitExceeded(self._tasks[attempt.name].contract.time_limit)
        # `interrupt` returns False if the task body has not begun, or if it and its hook have just
        # ended.
        if interrupt(attempt):
            attempt.interrupted_monotonic = time.monotonic()
            why = "was canceled" if attempt.cancel_requested else "has used up its time limit"
            text = "%s is interrupted, because its task %s"
            log.warning(text, _running_part(attempt), why, extra=attempt.fields)

    def may_end(self, attempt: Attempt) -> bool:
        """True if the task body may still end by itself. False if it has ignored an interrupt."""
        return self._step(attempt) is not Step.REPLACE

    def final_row(self, attempt: Attempt) -> Row:
        """The row to write for an attempt whose task body is ended together with this process."""
        now = self._database.now()
        if attempt.cancel_requested_at is not None:
            seconds = (now - attempt.cancel_requested_at).total_seconds()
            os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')} {seconds}"
        ran_s = time.monotonic() - attempt.started_monotonic if attempt.started_at else None
        # The body may have ended after the drain looked for decided outcomes. A handover stores no
        # child tasks, however, so a task that has submitted some runs again.
        decided = attempt.outcome if not attempt.children else None
        ended = decided or interrupted(attempt, self._tasks[attempt.name].contract, now)
        entry = Entry(attempt)
        entry.note_end(ended, now, ran_s)
        assert entry.row is not None
        return entry.row

    def _step(self, attempt: Attempt) -> Step:
        return step(attempt, self._tasks[attempt.name].contract.time_limit, time.monotonic())


def _running_part(attempt: Attempt) -> str:
    """Say which code of an attempt is running. A hook runs once the outcome is decided."""
    return "a task body" if attempt.outcome is None else "a hook"


def _stack_of(attempt: Attempt) -> str:
    lines = stacks.lines_of_thread(attempt)[::-1]
    return "".join(traceback.StackSummary.extract(lines).format()) or "unknown"
