"""When wrong passwords lock an address, and for how long."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from services.api.identity.lockout import ATTEMPTS, LONGEST_LOCK, WINDOW, Failures, after_failure

START = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def _after(*moments: timedelta) -> Failures:
    known = Failures()
    for moment in moments:
        known = after_failure(known, START + moment)
    return known


def test_the_fifth_wrong_password_locks_for_a_minute() -> None:
    assert _after(*[0 * MINUTE] * 4).locked_until is None
    assert _after(*[0 * MINUTE] * 5).locked_until == START + MINUTE


def test_only_those_of_the_last_quarter_of_an_hour_count() -> None:
    assert _after(*[0 * MINUTE] * 4, WINDOW).locked_until is None
    spread = [minutes * MINUTE for minutes in (0, 4, 8, 12)]
    assert _after(*spread, 14 * MINUTE).locked_until == START + 15 * MINUTE
    assert _after(*spread, 16 * MINUTE).locked_until is None


def test_each_wrong_password_after_a_lock_locks_for_longer() -> None:
    known, lasted = _after(*[0 * MINUTE] * 4), []
    now = START
    for _ in range(7):
        known = after_failure(known, now)
        assert known.locked_until is not None
        lasted.append((known.locked_until - now) // MINUTE)
        now = known.locked_until
    assert lasted == [1, 2, 4, 8, 15, 15, 15]


def test_a_wrong_password_that_was_under_way_does_not_lengthen_the_lock() -> None:
    locked = _after(*[0 * MINUTE] * 5)
    assert after_failure(locked, START + MINUTE / 2) == locked


def test_after_a_quarter_of_an_hour_without_one_all_is_forgotten() -> None:
    locked = _after(*[0 * MINUTE] * 5)
    known = after_failure(locked, START + MINUTE + WINDOW)
    assert (known.locked_until, known.locks, len(known.failed_at)) == (None, 0, 1)


@given(st.lists(st.floats(0, 7200), max_size=60))
def test_whatever_comes_locks_are_short_and_what_is_kept_is_little(gaps_s: list[float]) -> None:
    known, now = Failures(), START
    for gap_s in gaps_s:
        now += timedelta(seconds=gap_s)
        known = after_failure(known, now)
        assert len(known.failed_at) <= ATTEMPTS
        assert known.locked_until is None or known.locked_until - now <= LONGEST_LOCK
        assert known.forget_at() > now
