"""Tests of how the console writes times, durations and numbers."""

from datetime import UTC, datetime, timedelta

import pytest

from services.api.console import formats

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0 ms"),
        (0.2104, "210 ms"),
        (0.9996, "1.0 s"),
        (4.25, "4.2 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (7_800, "2 h 10 min"),
        (3_600, "1 h"),
        (273_600, "3 d 4 h"),
    ],
)
def test_a_duration_has_two_units_at_most(seconds: float | None, text: str) -> None:
    assert formats.duration(seconds) == text


@pytest.mark.parametrize(
    ("ahead_s", "text"),
    [(0.4, "now"), (-12, "12 s ago"), (240, "in 4 min"), (-7_200, "2 h ago"), (-259_200, "3 d ago")],
)
def test_a_moment_is_told_from_now(ahead_s: float, text: str) -> None:
    assert formats.relative(NOW + timedelta(seconds=ahead_s), NOW) == text


def test_numbers_are_readable() -> None:
    assert [formats.number(each) for each in (1_204, 0, 0.2, 12.34, 3.0)] == [
        "1,204",
        "0",
        "0.20",
        "12.3",
        "3",
    ]
