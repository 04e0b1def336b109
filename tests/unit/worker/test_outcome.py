"""Tests of which outcome an attempt has after its body ended in some way."""

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dramatiq.threading import Interrupt
from hypothesis import given
from hypothesis import strategies as st

from services.worker.running.outcome import MAX_MESSAGE_CHARS, MAX_TRACEBACK_CHARS
from shared.errors import (
    MAX_DELAY,
    Cancelled,
    MemoryLimitExceeded,
    PermanentError,
    Retry,
    TimeLimitExceeded,
)
from shared.ledger.lifecycle import ErrorKind, Status
from tests.hostile_tasks import Falsy, Mute
from tests.sample_tasks import FAIL, Done
from tests.unit.worker.attempts import Running

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def raised(error: BaseException) -> BaseException:
    """The same exception after it was raised, so that it has a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - that is the point
        return caught


class Rude(Exception):
    """An exception whose methods raise errors themselves when a report about it is made."""

    def __str__(self) -> str:
        raise SystemExit("no")

    __repr__ = __str__
    __format__ = __str__  # type: ignore[assignment]

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override] # a property in place of a list
        raise KeyboardInterrupt


@pytest.mark.parametrize("error", [Mute(), Falsy(), Rude(), RuntimeError("x" * 5_000_000)], ids=type)
def test_an_error_that_cannot_be_shown_fails_with_its_type_and_traceback(error: Exception) -> None:
    outcome = Running.of(FAIL).end(error=raised(error))
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == (Status.RETRY, ErrorKind.BUG)
    assert outcome.failure.message.startswith(type(error).__name__)
    assert len(outcome.failure.message) <= MAX_MESSAGE_CHARS
    assert "raise error" in (outcome.failure.traceback or "")
    assert len(outcome.failure.traceback or "") <= MAX_TRACEBACK_CHARS


@pytest.mark.parametrize(
    "error",
    [Cancelled("as asked"), PermanentError("never"), RuntimeError("bug"), SystemExit(1), None],
    ids=repr,
)
def test_a_task_that_ends_without_a_result_after_its_cancellation_is_revoked(
    error: BaseException | None,
) -> None:
    running = Running.of(FAIL)
    running.attempt.cancel_requested = True
    outcome = running.end(error=error and raised(error))
    assert (outcome.status, outcome.failure) == (Status.REVOKED, None)


def test_a_result_returned_after_the_cancellation_is_a_success() -> None:
    running = Running.of(FAIL)
    running.attempt.cancel_requested = True
    assert running.end(returned=Done(attempt=1)).status is Status.SUCCESS


def test_an_interrupt_that_the_body_raises_itself_is_a_failure() -> None:
    outcome = Running.of(FAIL).end(error=raised(Interrupt()))
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.kind) == (Status.RETRY, ErrorKind.BUG)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (TimeLimitExceeded(timedelta(seconds=1)), ErrorKind.TIME_LIMIT),
        (MemoryLimitExceeded(400, 500), ErrorKind.MEMORY),
        (None, None),
    ],
    ids=str,
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_an_interrupted_body_fails_by_its_fault_alone(
    fault: Any, kind: ErrorKind | None, wrapped: bool
) -> None:
    running = Running.of(FAIL)
    running.attempt.interrupt_pending, running.attempt.fault = True, fault
    error = raised(Interrupt())
    if wrapped:
        try:
            try:
                raise Interrupt
            finally:
                raise RuntimeError("the clean-up failed")
        except RuntimeError as caught:
            error = caught
    outcome = running.end(error=error)
    if kind is None:
        assert (outcome.status, outcome.interruptions, outcome.failures) == (Status.PENDING, 1, 0)
        assert outcome.wait_reason == "its worker stopped"
    else:
        assert outcome.failure is not None
        assert (outcome.status, outcome.failure.kind, outcome.failures) == (Status.RETRY, kind, 1)


def test_a_bodys_own_error_before_an_interrupt_is_kept() -> None:
    running = Running.of(FAIL)
    running.attempt.interrupt_pending = True
    ring = RuntimeError("first")
    ring.__context__ = RuntimeError("second")
    ring.__context__.__context__ = ring
    assert running.end(error=raised(ring)).failures == 1


NUMBERS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just(1e12), st.just("5")
)
MOMENTS = st.one_of(st.none(), st.datetimes(), st.datetimes(timezones=st.just(UTC)), st.dates(), st.text())


@given(delay_s=NUMBERS, at=MOMENTS)
def test_retry_is_refused_or_waits_at_most_366_days(delay_s: Any, at: Any) -> None:
    try:
        error = Retry("not yet", delay_s=delay_s, at=at)
    except ValueError:
        return
    assert 0 <= error.wait_s(NOW) <= MAX_DELAY.total_seconds()


@pytest.mark.parametrize("delay_s", [1e12, "5", True, math.nan, math.inf], ids=repr)
def test_retry_names_the_delay_that_it_refuses(delay_s: Any) -> None:
    with pytest.raises(ValueError, match="delay_s must be a number of seconds, at most 366 days"):
        Retry("not yet", delay_s=delay_s)


def test_the_latest_datetime_counts_as_366_days() -> None:
    assert Retry("never", at=datetime.max.replace(tzinfo=UTC)).wait_s(NOW) == MAX_DELAY.total_seconds()
