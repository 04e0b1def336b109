"""Tests of cron expressions, on ordinary days and on days when the clocks change."""

from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.schedules.crontab import Crontab

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Santiago"]
HOUR = timedelta(hours=1)
#: Hours of the day that the tests use. The clocks of ZONES change between 23:00 and 03:00. Noon
#: represents all other hours.
HOURS = (0, 1, 2, 3, 4, 12, 23)


def fired(expression: str, zone: str, first: date, last: date) -> list[datetime]:
    """Local times at which an expression fires on the days from `first` to `last`."""
    tz = ZoneInfo(zone)
    begin = datetime.combine(first, datetime.min.time(), tz) - timedelta(microseconds=1)
    instants = Crontab(expression).instants(tz, begin)
    local = (instant.astimezone(tz) for instant in instants)
    return list(takewhile(lambda time: time.date() <= last, local))


def local_times(expression: str, *, count: int, after: str = "2026-01-01T00:00") -> list[str]:
    found = Crontab(expression).local_times(datetime.fromisoformat(after))
    return [time.isoformat(" ", "minutes") for time in islice(found, count)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("clock", [f"{hour:02}:{minute:02}" for hour in HOURS for minute in (0, 30, 45)])
def test_a_daily_time_comes_once_each_day_and_is_right_wherever_the_clock_shows_it(
    zone: str, clock: str
) -> None:
    hour, minute = clock.split(":")
    times = fired(f"{minute} {hour} * * *", zone, date(2026, 1, 1), date(2026, 12, 31))
    assert [time.date() for time in times] == [date(2026, 1, 1) + timedelta(days=n) for n in range(365)]
    moved = [time for time in times if time.strftime("%H:%M") != clock]
    # At most one time in the year is moved: the one that the clock skips. It is moved to the end of
    # the gap.
    assert len(moved) <= 1
    for time in moved:
        before = (time.astimezone(UTC) - timedelta(seconds=1)).astimezone(time.tzinfo)
        asked = datetime.combine(time.date(), clock_time.fromisoformat(clock))
        assert before.replace(tzinfo=None) < asked < time.replace(tzinfo=None)
    # On the day on which the clock shows the time twice, the schedule fires only at the first of
    # the two.
    assert not any(time.fold for time in times)


@pytest.mark.parametrize(
    ("zone", "expression", "expected"),
    [
        ("Europe/Berlin", "30 2 29 3 *", "2026-03-29T03:00:00+02:00"),
        ("Europe/Berlin", "30 2 25 10 *", "2026-10-25T02:30:00+02:00"),
        ("America/New_York", "30 2 8 3 *", "2026-03-08T03:00:00-04:00"),
        ("America/New_York", "30 1 1 11 *", "2026-11-01T01:30:00-04:00"),
        ("Australia/Lord_Howe", "15 2 4 10 *", "2026-10-04T02:30:00+11:00"),
        ("Australia/Lord_Howe", "45 1 5 4 *", "2026-04-05T01:45:00+11:00"),
        ("America/Santiago", "30 0 6 9 *", "2026-09-06T01:00:00-03:00"),
    ],
)
def test_the_instants_of_change_days(zone: str, expression: str, expected: str) -> None:
    times = fired(expression, zone, date(2026, 1, 1), date(2026, 12, 31))
    assert [time.isoformat() for time in times] == [expected]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Asia/Kolkata"])
@pytest.mark.parametrize("minute", [0, 7, 59])
def test_an_hourly_time_comes_once_each_real_hour(zone: str, minute: int) -> None:
    times = fired(f"{minute} * * * *", zone, date(2026, 1, 1), date(2026, 12, 31))
    assert {(b.astimezone(UTC) - a.astimezone(UTC)) for a, b in pairwise(times)} == {HOUR}
    per_day = [sum(1 for time in times if time.date() == day) for day in {t.date() for t in times}]
    changes = zone != "Asia/Kolkata"
    assert sorted(per_day) == ([23] + [24] * 363 + [25] if changes else [24] * 365)


def test_where_the_clock_jumps_half_an_hour_the_hourly_time_follows_what_it_shows() -> None:
    spring = fired("0 * * * *", "Australia/Lord_Howe", date(2026, 10, 4), date(2026, 10, 4))
    assert [time.hour for time in spring] == [0, 1, *range(3, 24)]
    autumn = fired("45 * * * *", "Australia/Lord_Howe", date(2026, 4, 5), date(2026, 4, 5))
    assert [time.hour for time in autumn] == [0, 1, 1, *range(2, 24)]


def quarters(begin: datetime, end: datetime) -> list[datetime]:
    """All quarter-hours between two times, including those of the hour that the clock repeats."""
    step = timedelta(minutes=15)
    return [begin + step * n for n in range(1, min(100, (end - begin) // step + 1)) if begin + step * n < end]


def test_an_answer_does_not_depend_on_where_the_walk_began() -> None:
    tz = ZoneInfo("Europe/Berlin")
    for expression in ("*/20 1-3 * * *", "*/20 * * * *", "30 2 * * *"):
        for day in (datetime(2026, 3, 28, 22, tzinfo=UTC), datetime(2026, 10, 24, 21, tzinfo=UTC)):
            whole = list(islice(Crontab(expression).instants(tz, day), 12))
            for before, after in pairwise(whole):
                for begin in (before, after - timedelta(seconds=1), *quarters(before, after)):
                    assert next(Crontab(expression).instants(tz, begin)) == after


fields = st.tuples(
    st.sampled_from(["*", "0", "30", "*/7", "5,50", "10-20"]),
    st.sampled_from(["*", "0", "2", "1-3", "*/2", "0,23", "2,3"]),
    st.sampled_from(["*", "1", "*/3", "29", "25-31"]),
    st.sampled_from(["*", "3,10", "4-11", "*/2"]),
    st.sampled_from(["*", "0", "7", "mon-fri", "sun", "6-7"]),
)


@given(
    fields=fields,
    zone=st.sampled_from([*ZONES, "America/Nuuk", "Africa/Cairo", "Africa/Casablanca", "Antarctica/Troll"]),
    after=st.floats(0, 12 * 366 * 86_400).map(
        lambda s: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=s)
    ),
)
def test_instants_rise_and_lie_after_the_beginning(
    fields: tuple[str, ...], zone: str, after: datetime
) -> None:
    tz = ZoneInfo(zone)
    instants = list(islice(Crontab(" ".join(fields)).instants(tz, after), 40))
    assert all(a < b for a, b in pairwise([after, *instants]))
    assert all(instant.second == instant.microsecond == 0 for instant in instants)


def test_weekdays_are_counted_as_in_crontab() -> None:
    # 4 January 2026 is a Sunday.
    for sunday in ("0", "7", "sun", "SUN"):
        assert local_times(f"0 9 * * {sunday}", count=1) == ["2026-01-04 09:00"]
    assert local_times("0 9 * * 1", count=1) == ["2026-01-05 09:00"]
    assert [day[8:10] for day in local_times("0 9 * * 5-7", count=3)] == ["02", "03", "04"]
    assert [day[8:10] for day in local_times("0 9 * * fri-sun", count=3)] == ["02", "03", "04"]
    for one_day in ("sun-sun", "0-sun", "0-0", "7-7", "sun-sun/2"):
        assert [day[8:10] for day in local_times(f"0 9 * * {one_day}", count=2)] == ["04", "11"], one_day
    assert [day[8:10] for day in local_times("0 9 * * mon-fri", count=4)] == ["01", "02", "05", "06"]


def test_a_day_fits_by_its_date_or_by_its_weekday_where_both_are_restricted() -> None:
    assert [day[5:10] for day in local_times("0 0 13 * fri", count=4)] == ["01-02", "01-09", "01-13", "01-16"]
    # As in cron, a field that begins with `*` counts as unrestricted, even with a step. So the day
    # must match both fields.
    assert [day[5:10] for day in local_times("0 0 */2 * fri", count=3)] == ["01-09", "01-23", "02-13"]


def test_lists_ranges_steps_and_names_mean_what_crontab_says() -> None:
    assert [t[11:] for t in local_times("5,10-12,40-59/10 8 * * *", count=6)] == [
        *("08:05", "08:10", "08:11", "08:12", "08:40", "08:50")
    ]
    assert [t[5:7] for t in local_times("0 0 1 feb,JUN-aug *", count=4)] == ["02", "06", "07", "08"]


@pytest.mark.parametrize(
    ("expression", "rule"),
    [
        ("* * * *", "must have 5 fields"),
        ("60 * * * *", "minute '60' must be from 0 to 59"),
        ("* 24 * * *", "hour '24' must be from 0 to 23"),
        ("* * 0 * *", "day of month '0' must be from 1 to 31"),
        ("* * * 13 *", "month '13' must be from 1 to 12 or one of jan"),
        ("* * * * 8", "day of week '8' must be from 0 to 7 or one of sun"),
        ("* * * * someday", "day of week 'someday'"),
        ("5/15 * * * *", "must give a range before the step: 5-59"),
        ("*/0 * * * *", "must have a step of at least 1"),
        ("* 22-4 * * *", "must not run backwards"),
        ("* * * * fri-mon", "must not run backwards"),
        ("* * * jan-sun *", "must be from 1 to 12 or one of jan"),
        ("1,,2 * * * *", "minute '' must be"),
        ("* * last * *", "day of month 'last'"),
        ("² * * * *", "minute '²'"),
    ],
)
def test_a_wrong_field_is_named_with_its_rule(expression: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule.replace("*", r"\*")):
        Crontab(expression)
