"""Tests of when schedules fire: timings, missed times and jitter."""

import time
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts import catalogue
from shared.errors import InvalidFields
from shared.schedules.timetable import MAX_FIRINGS, Misfire, Policy, Timing, due
from tests.installed import INSTALLED

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVERY_MINUTE = Timing("cron", "* * * * *")


def minutes(*counts: float) -> list[datetime]:
    return [NOON + timedelta(minutes=count) for count in counts]


@given(seconds=st.integers(1, 100_000), late=st.floats(0, 1e9), fraction=st.integers(0, 999_999))
def test_intervals_are_always_counted_from_the_start(seconds: int, late: float, fraction: int) -> None:
    start = NOON.replace(microsecond=fraction)
    after = start + timedelta(seconds=late)
    times = list(islice(Timing("interval", f"{seconds} s").firings(after, start=start), 5))
    assert all(((t - NOON) / timedelta(seconds=seconds)).is_integer() for t in times)
    assert after < times[0] <= after + timedelta(seconds=seconds)
    assert {b - a for a, b in pairwise(times)} == {timedelta(seconds=seconds)}


@pytest.mark.parametrize(
    ("expression", "step"),
    [
        ("90 s", timedelta(seconds=90)),
        ("15 min", timedelta(minutes=15)),
        ("6 h", timedelta(hours=6)),
        ("1 d", timedelta(1)),
    ],
)
def test_an_interval_may_be_given_in_any_unit(expression: str, step: timedelta) -> None:
    assert Timing("interval", expression).following(NOON, start=NOON) == NOON + step


def test_a_single_moment_fires_once() -> None:
    timing = Timing("once", "2026-12-24T18:00:00+01:00")
    moment = datetime(2026, 12, 24, 17, tzinfo=UTC)
    assert list(timing.firings(NOON, start=NOON)) == [moment]
    assert timing.following(moment, start=NOON) is None
    assert due(timing, moment, moment, start=NOON, policy=Policy()).following is None


@pytest.mark.parametrize(
    ("timing", "field", "rule"),
    [
        (("daily", "1 d"), "kind", "one of cron, interval, once"),
        (("cron", "* * * *"), "expression", "5 fields"),
        (("cron", "0 0 * * *", "Europe/Berlim"), "time_zone", "did you mean Europe/Berlin"),
        (("cron", "0 0 * * *", "../etc/passwd"), "time_zone", "IANA"),
        (("cron", "0 0 * * *", "Europe"), "time_zone", "IANA"),
        (("cron", "0 0 * * *", "localtime"), "time_zone", "IANA"),
        (("cron", "0 0 * * *", "Factory"), "time_zone", "IANA"),
        (("interval", "0 s"), "expression", "'90 s'"),
        (("interval", "0.5 s"), "expression", "'90 s'"),
        (("interval", "90"), "expression", "'90 s'"),
        (("interval", "400 d"), "expression", "366 d"),
        (("interval", "999999999 d"), "expression", "366 d"),
        (("once", "2026-12-24T18:00:00"), "expression", "with its offset"),
        (("once", "0001-01-01T00:00:00+14:00"), "expression", "with its offset"),
        (("once", "9999-12-31T23:59:59-12:00"), "expression", "with its offset"),
        (("once", "9999-12-31T23:59:59Z"), "expression", "not be later than the year 9997"),
        (("once", "tomorrow"), "expression", "with its offset"),
        (("once", "2026-11-22T11:59:59Z"), "expression", "must be a time in the future"),
        (("cron", "0 0 30 2 *"), "expression", "never fires within 5 years"),
        (("cron", "0 0 31 4,6,9,11 *"), "expression", "never fires within 5 years"),
        (("interval", "60 s", "UTC", 60), "jitter_s", "less than the 60 seconds"),
        (("cron", "0 9,10 * * *", "UTC", 3_600), "jitter_s", "less than the 3600 seconds"),
        (("cron", "0 9 * * *", "UTC", -1), "jitter_s", "from 0"),
        (("cron", "0 9 * * *", "UTC", float("nan")), "jitter_s", "from 0"),
    ],
)
def test_a_timing_that_breaks_a_rule_is_refused_by_field_and_fast(
    timing: tuple[str, str], field: str, rule: str
) -> None:
    began = time.perf_counter()
    with pytest.raises(InvalidFields) as refused:
        Timing(*timing).check(NOON)
    ((found),) = refused.value.problems
    assert found.field == field
    assert rule in found.rule
    assert time.perf_counter() - began < 2


def test_a_leap_day_and_a_jitter_below_the_period_are_fine() -> None:
    Timing("cron", "0 0 29 2 *").check(NOON)
    Timing("interval", "60 s", jitter_s=59.9).check(NOON)


def test_a_punctual_time_fires_under_every_policy() -> None:
    for misfire in Misfire:
        found = due(
            EVERY_MINUTE, NOON, NOON + timedelta(seconds=0.4), start=NOON, policy=Policy(misfire=misfire)
        )
        assert (found.times, found.given_up, found.following) == ([NOON], None, *minutes(1))


@pytest.mark.parametrize(
    ("policy", "times", "given_up"),
    [
        (Policy(Misfire.SKIP, grace_s=90), minutes(9, 10), NOON),
        (Policy(Misfire.SKIP, grace_s=30), minutes(10), NOON),
        (Policy(Misfire.SKIP, grace_s=10), [], NOON),
        (Policy(Misfire.ONCE), minutes(10), NOON),
        (Policy(Misfire.ALL), minutes(*range(11)), None),
        (Policy(Misfire.ALL, catch_up_s=150), minutes(8, 9, 10), NOON),
        (Policy(Misfire.ONCE, catch_up_s=10), [], NOON),
    ],
)
def test_missed_times_are_made_up_for_as_the_policy_says(
    policy: Policy, times: list[datetime], given_up: datetime | None
) -> None:
    now = NOON + timedelta(minutes=10, seconds=20)
    found = due(EVERY_MINUTE, NOON, now, start=NOON, policy=policy)
    assert (found.times, found.given_up) == (times, given_up)
    assert [found.following] == minutes(11)


def test_a_time_exactly_as_late_as_the_grace_is_too_late() -> None:
    policy = Policy(Misfire.SKIP, grace_s=60)
    assert due(EVERY_MINUTE, NOON, *minutes(1), start=NOON, policy=policy).times == minutes(1)


def test_a_round_fires_a_thousand_at_most_and_the_next_one_goes_on() -> None:
    every_second, policy = Timing("interval", "1 s"), Policy(Misfire.ALL, catch_up_s=10_000)
    first, now, fired = NOON + timedelta(seconds=1), NOON + timedelta(seconds=2_500), list[datetime]()
    while first <= now:
        found = due(every_second, first, now, start=NOON, policy=policy)
        assert len(found.times) <= MAX_FIRINGS
        assert found.given_up is None
        assert found.following is not None
        fired, first = fired + found.times, found.following
    assert fired == [NOON + timedelta(seconds=n) for n in range(1, 2_501)]


def test_the_latest_of_a_month_of_seconds_is_found_fast() -> None:
    policy = Policy(Misfire.ONCE, catch_up_s=31 * 86_400)
    began = time.perf_counter()
    found = due(
        Timing("interval", "1 s"), NOON, NOON + timedelta(days=30, seconds=0.5), start=NOON, policy=policy
    )
    assert found.times == [NOON + timedelta(days=30)]
    rare = due(
        Timing("cron", "30 2 1 * *", "Europe/Berlin"), NOON, NOON + timedelta(30), start=NOON, policy=policy
    )
    assert rare.times == [datetime(2026, 12, 1, 1, 30, tzinfo=UTC)]
    assert time.perf_counter() - began < 1


@given(st.datetimes(timezones=st.just(UTC)), st.floats(0.001, 86_400))
def test_jitter_is_below_its_limit_and_the_same_in_every_process(nominal: datetime, limit: float) -> None:
    a, b = Timing("interval", "366 d", jitter_s=limit), Timing("cron", "* * * * *", jitter_s=limit)
    assert timedelta(0) <= a.jitter("night", nominal) <= timedelta(seconds=limit)
    assert a.jitter("night", nominal) == b.jitter("night", nominal)


def test_jitter_spreads_schedules_and_times() -> None:
    timing = Timing("interval", "1 d", jitter_s=100)
    by_name = {timing.jitter(f"schedule.{n}", NOON) for n in range(100)}
    by_time = {timing.jitter("schedule", NOON + timedelta(days=n)) for n in range(100)}
    assert len(by_name) == len(by_time) == 100
    assert max(by_time) - min(by_time) > timedelta(seconds=80)


def test_every_schedule_that_a_contract_declares_is_sound() -> None:
    for contract, schedule in catalogue.load(INSTALLED).schedules:
        timing = Timing(schedule.kind, schedule.expression, schedule.time_zone, schedule.jitter_s)
        timing.check(NOON)
        assert contract.decode_params(contract.encode_params(schedule.params)) == schedule.params
        assert schedule.misfire in set(Misfire)
