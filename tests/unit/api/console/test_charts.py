"""Tests of the console's charts: an interval without data counts as zero, and every count above
zero is visible.
"""

from datetime import UTC, datetime, timedelta

from services.api.console import charts
from services.api.operations.error_schemas import ErrorHourAnswer
from services.api.tasks.statistics_schemas import Point, Series

SINCE = datetime(2026, 11, 30, 12, tzinfo=UTC)


def _point(minutes: int, success: int, failure: int) -> Point:
    at = SINCE + timedelta(minutes=minutes)
    return Point(at, success, failure, 0, 0, 0.0, None, None)


def test_every_step_has_a_point() -> None:
    series = Series(SINCE, 60, [_point(1, 5, 0)])
    points = charts.filled(series, SINCE + timedelta(minutes=3, seconds=20))
    assert [point.success for point in points] == [0, 5, 0, 0]


def test_a_single_failure_among_thousands_is_drawn() -> None:
    (bar,) = charts.bars([_point(0, 10_000, 1)], 60)
    assert (bar.bad, bar.title) == (1.5, "12:00 to 12:01 UTC: 10,001 ended, 1 failed")


def test_one_attempt_is_not_called_several() -> None:
    (bar,) = charts.hours([ErrorHourAnswer(SINCE, 1, 1)])
    assert bar.title == "from 12:00 UTC: 1 attempt, 1 task ended"


def test_a_line_spans_its_width() -> None:
    assert charts.spark([0, 2, 1]) == "M0.0 27.0 L60.0 1.0 L120.0 14.0"
    assert charts.spark([0, 0]) == "M0.0 27.0 L120.0 27.0"
    assert charts.spark([1]) == ""
