"""Tests of how many wrong passwords lock a mail address, and for how long."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.api.identity.lockout import NARROW, WIDE, Failures, Policy, after_attempt

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
WINDOW = NARROW.window


def _after(*moments: timedelta, policy: Policy = NARROW) -> Failures:
    known = Failures()
    for moment in moments:
        known = after_attempt(known, START + moment, policy)
    return known


def test_the_fifth_wrong_password_locks_for_a_minute() -> None:
    assert _after(*[0 * MINUTE] * 4).locked_until is None
    assert _after(*[0 * MINUTE] * 5).locked_until == START + MINUTE


def test_only_attempts_of_the_last_quarter_of_an_hour_count() -> None:
    assert _after(*[0 * MINUTE] * 4, WINDOW).locked_until is None
    spread = [minutes * MINUTE for minutes in (0, 4, 8, 12)]
    assert _after(*spread, 14 * MINUTE).locked_until == START + 15 * MINUTE
    assert _after(*spread, 16 * MINUTE).locked_until is None


def test_each_wrong_password_after_a_lock_locks_for_longer() -> None:
    known, lasted = _after(*[0 * MINUTE] * 4), []
    now = START
    for _ in range(7):
        known = after_attempt(known, now, NARROW)
        assert known.locked_until is not None
        lasted.append((known.locked_until - now) // MINUTE)
        now = known.locked_until
    assert lasted == [1, 2, 4, 8, 15, 15, 15]


def test_all_networks_together_lock_later_and_for_longer() -> None:
    assert _after(*[0 * MINUTE] * 49, policy=WIDE).locked_until is None
    assert _after(*[0 * MINUTE] * 50, policy=WIDE).locked_until == START + 15 * MINUTE


def test_a_quarter_of_an_hour_without_wrong_passwords_resets_the_count() -> None:
    locked = _after(*[0 * MINUTE] * 5)
    known = after_attempt(locked, START + MINUTE + WINDOW, NARROW)
    assert (known.locked_until, known.locks, len(known.failed_at)) == (None, 0, 1)


@given(st.lists(st.floats(0, 7200), max_size=60), st.sampled_from([NARROW, WIDE]))
def test_locks_stay_short_and_rows_small_after_any_attempts(gaps_s: list[float], policy: Policy) -> None:
    known, now = Failures(), START
    for gap_s in gaps_s:
        now += timedelta(seconds=gap_s)
        if known.is_locked(now):
            continue
        known = after_attempt(known, now, policy)
        assert len(known.failed_at) <= policy.attempts
        assert known.locked_until is None or known.locked_until - now <= policy.longest_lock
        assert known.forget_at(policy) > now
