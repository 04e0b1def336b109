"""Computes the progress of a bulk operation.

The functions are pure; the current time is an argument.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from services.api.bulk.schemas import BulkAnswer
from shared.bulk.act import State

#: States in which a bulk operation is running or about to run.
MOVING: Final = frozenset({State.WAITING, State.RUNNING, State.STOPPING})
#: States in which a bulk operation can be stopped. A failed operation can be stopped too, because a
#: retry of its task would continue it.
STOPPABLE: Final = frozenset({State.WAITING, State.RUNNING, State.FAILED})


@dataclass(frozen=True, slots=True)
class Progress:
    """What a page shows about the progress of a bulk operation."""

    #: Number of tasks or workflows that the bulk operation has handled so far.
    processed: int
    #: Percentage of tasks or workflows that have been handled. None if the total is unknown because
    #: there are more matches than are counted.
    percent: int | None
    #: Estimated number of seconds until the bulk operation ends; None if it cannot be estimated.
    left_s: float | None


def of(act: BulkAnswer, now: datetime) -> Progress:
    processed = act.done + act.skipped + act.refused
    if act.state == State.COMPLETED:
        return Progress(processed, 100, None)
    if not act.exact:
        return Progress(processed, None, None)
    percent = min(99, 100 * processed // max(act.expected, 1))
    return Progress(processed, percent, _left_s(act, processed, now))


def _left_s(act: BulkAnswer, processed: int, now: datetime) -> float | None:
    """Estimate the remaining seconds of a bulk operation from its rate limit, or from its speed so
    far if it has none.
    """
    elapsed = (now - act.created_at).total_seconds()
    if act.state != State.RUNNING or not processed or elapsed <= 0:
        return None
    return max(0, act.expected - processed) / (act.rate or processed / elapsed)
