"""Draws the life of a task as a row of waits and runs, over all its attempts.

The current time is an argument.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from services.api.console.formats import duration
from services.api.console.states import sign_of
from services.api.tasks.schemas import AttemptAnswer, TaskAnswer
from services.api.words import plural
from shared.ledger.lifecycle import FINAL

#: Minimum width in percent of a piece of the timeline, so that it can be seen and pointed at.
NARROWEST: Final = 2.5
#: Maximum number of attempts in the drawing. If there are more, the latest ones are drawn.
MOST: Final = 15


class Piece(NamedTuple):
    """One piece of a task's timeline: a wait or a run. Its position and width are percentages of
    the whole.
    """

    kind: str
    tone: str
    #: Text inside the piece of the timeline, shown if there is room for it.
    label: str
    title: str
    left: float
    width: float


@dataclass(frozen=True, slots=True)
class _Stretch:
    kind: str
    tone: str
    label: str
    title: str
    seconds: float


def draw(task: TaskAnswer, attempts: Sequence[AttemptAnswer], now: datetime) -> list[Piece]:
    """The waits and runs of a task, in order. Empty for a task that has neither."""
    stretches = _stretches(task, attempts, now)
    total = sum(each.seconds for each in stretches)
    if not stretches or total <= 0:
        return []
    widths = _widths([each.seconds / total for each in stretches])
    pieces, left = [], 0.0
    for each, width in zip(stretches, widths, strict=True):
        pieces.append(Piece(each.kind, each.tone, each.label, each.title, round(left, 3), round(width, 3)))
        left += width
    return pieces


def _stretches(task: TaskAnswer, attempts: Sequence[AttemptAnswer], now: datetime) -> list[_Stretch]:
    known = [each for each in attempts if each.started_at is not None]
    shown, left_out = known[-MOST:], known[:-MOST]
    found: list[_Stretch] = []
    at = task.created_at
    if left_out:
        end = left_out[-1].ended_at or at
        found += _some("wait", "off", "…", f"{plural(len(left_out), 'attempt')} before", end - at)
        at = end
    for each in shown:
        assert each.started_at is not None
        found += _some("wait", "idle", "", "waited", each.started_at - at)
        found += _run(each, now)
        at = each.ended_at or now
    if task.status not in FINAL and task.status != "started":
        found += _some("wait", "idle", "", "waits", now - at)
    return found


def _run(attempt: AttemptAnswer, now: datetime) -> list[_Stretch]:
    assert attempt.started_at is not None
    sign = sign_of(attempt.outcome or "started")
    length = max((attempt.ended_at or now) - attempt.started_at, timedelta(milliseconds=1))
    what = f"attempt {attempt.attempt} {sign.word}"
    return _some("run", sign.tone, str(attempt.attempt), what, length)


def _some(kind: str, tone: str, label: str, what: str, length: timedelta) -> list[_Stretch]:
    """Return a list with one piece of the timeline, or an empty list if the piece has no length.

    A length can be negative, because the clocks of different machines differ.
    """
    seconds = length.total_seconds()
    return [_Stretch(kind, tone, label, f"{what} {duration(seconds)}", seconds)] if seconds > 0 else []


def _widths(shares: Sequence[float]) -> list[float]:
    """Compute widths in percent that add up to 100. Each piece of the timeline gets the minimum
    width, and a share of the rest.
    """
    spare = 100 - NARROWEST * len(shares)
    return [NARROWEST + spare * share for share in shares]
