"""Computes the SVG geometry of small charts.

A time step without data counts as zero.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from services.api.operations.error_schemas import ErrorHourAnswer
from services.api.tasks.statistics_schemas import Point, Series
from services.api.words import plural

#: Width and height of a sparkline and height of a bar chart, in units of their coordinate systems.
SPARK_WIDTH: Final = 120
SPARK_HEIGHT: Final = 28
BARS_HEIGHT: Final = 100


class Bar(NamedTuple):
    """One bar of a bar chart, for one time step: its position as a percentage of the width, and its
    heights from 0 to BARS_HEIGHT.
    """

    left: float
    width: float
    good: float
    bad: float
    title: str


def filled(series: Series, now: datetime) -> list[Point]:
    """The points of a time series, with a zero point for each time step that has no data."""
    known = {_number(point.at, series.step_s): point for point in series.points}
    first, last = _number(series.since, series.step_s), _number(now, series.step_s)
    return [known.get(number) or _empty(number, series.step_s) for number in range(first, last + 1)]


def spark(values: Sequence[float]) -> str:
    """Return the SVG path of a sparkline. It is a flat line at the bottom if all values are zero."""
    if len(values) < 2:
        return ""
    most = max(values) or 1
    step = SPARK_WIDTH / (len(values) - 1)
    points = [
        f"{index * step:.1f} {SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / most:.1f}"
        for index, value in enumerate(values)
    ]
    return f"M{' L'.join(points)}"


def bars(points: Sequence[Point], step_s: int) -> list[Bar]:
    """Bars of the number of ended tasks, one for each time step; failed tasks are stacked on top of
    the others.
    """
    most = max((_ended(point) for point in points), default=0) or 1
    width = 100 / max(1, len(points))
    return [
        Bar(
            left=round(index * width, 3),
            width=round(0.8 * width, 3),
            good=_height(_ended(point) - point.failure, most),
            bad=_height(point.failure, most),
            title=_title(point, step_s),
        )
        for index, point in enumerate(points)
    ]


def hours(points: Sequence[ErrorHourAnswer]) -> list[Bar]:
    """Bars of the number of failed attempts, one for each hour; attempts that ended their task are
    stacked on top of those that were retried.
    """
    most = max((point.attempts for point in points), default=0) or 1
    width = 100 / max(1, len(points))
    return [
        Bar(
            left=round(index * width, 3),
            width=round(0.8 * width, 3),
            good=_height(point.attempts - point.tasks, most),
            bad=_height(point.tasks, most),
            title=f"from {point.at:%H:%M} UTC: {plural(point.attempts, 'attempt')}, "
            f"{plural(point.tasks, 'task')} ended",
        )
        for index, point in enumerate(points)
    ]


def _ended(point: Point) -> int:
    return point.success + point.failure + point.revoked


def _height(count: int, most: int) -> float:
    """The height of one part of a bar. Any count above zero gets a height that can be seen."""
    return round(max(1.5, BARS_HEIGHT * count / most), 2) if count else 0.0


def _title(point: Point, step_s: int) -> str:
    end = point.at + timedelta(seconds=step_s)
    return f"{point.at:%H:%M} to {end:%H:%M} UTC: {_ended(point):,} ended, {point.failure:,} failed"


def _number(moment: datetime, step_s: int) -> int:
    return int(moment.timestamp()) // step_s


def _empty(number: int, step_s: int) -> Point:
    return Point(datetime.fromtimestamp(number * step_s, UTC), 0, 0, 0, 0, 0.0, None, None)
