"""Ends bodies that run too long, or on after a cancel: first by an interrupt, then with the process.

Decisions only; `process` carries them out.
"""

from datetime import timedelta
from enum import Enum

from services.worker.holdings import Holding

#: How long a body that was told of its cancelling may take to look and return.
CANCEL_GRACE_S = 5.0
#: How long an interrupted body may take to end before its process is replaced.
INTERRUPT_GRACE_S = 5.0


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
