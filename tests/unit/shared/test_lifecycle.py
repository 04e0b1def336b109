from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.contract import Contract, Params, Result, Retries
from shared.errors import ExpectedError, InvalidFields, PermanentError
from shared.ledger import lifecycle
from shared.ledger.lifecycle import FINAL, TRANSITIONS, ErrorKind, GiveUp, Retry, Status


class Nothing(Params):
    pass


class Done(Result):
    pass


CONTRACT = Contract(
    name="sample.task",
    queue="default",
    params=Nothing,
    result=Done,
    expected=(ConnectionError,),
    permanent=(ZeroDivisionError,),
)

retries = st.builds(
    Retries,
    max_attempts=st.integers(1, 100),
    delay=st.timedeltas(timedelta(milliseconds=1), timedelta(hours=1)),
    factor=st.floats(1, 10),
    cap=st.timedeltas(timedelta(hours=1), timedelta(days=30)),
    jitter=st.floats(0, 1),
)


@given(retries=retries, failures=st.integers(1, 10_000), spread=st.floats(0, 1))
def test_a_delay_stays_within_jitter_of_its_cap_and_is_never_negative(
    retries: Retries, failures: int, spread: float
) -> None:
    delay = lifecycle.backoff(retries, failures=failures, spread=spread)
    assert timedelta(0) <= delay <= retries.cap * (1 + retries.jitter) + timedelta(microseconds=1)


@given(retries=retries, failures=st.integers(1, 200))
def test_without_jitter_delays_never_shrink(retries: Retries, failures: int) -> None:
    def delay(count: int) -> timedelta:
        return lifecycle.backoff(retries, failures=count, spread=0.5)

    assert delay(1) == retries.delay
    assert delay(failures) <= delay(failures + 1)


def test_a_delay_with_a_factor_near_1_grows_to_its_cap() -> None:
    retries = Retries(max_attempts=600, delay=timedelta(seconds=1), factor=1.01, cap=timedelta(minutes=5))
    delays = [lifecycle.backoff(retries, failures=n, spread=0.5).total_seconds() for n in (1, 101, 574, 575)]
    assert delays == pytest.approx([1, 2.70481, 299.34, 300], rel=1e-4)


@pytest.mark.parametrize("factor", [2, 2.0, 1e300])
def test_a_power_that_is_too_large_for_a_float_is_the_cap(factor: float) -> None:
    retries = Retries(max_attempts=100_000, factor=factor)
    assert lifecycle.backoff(retries, failures=99_999, spread=0.5) == retries.cap


def test_the_documented_first_delays_are_true() -> None:
    delays = [lifecycle.backoff(Retries(), failures=n, spread=0.5).total_seconds() for n in range(1, 5)]
    assert delays == [5, 15, 45, 135]


@given(failures=st.integers(1, 50), max_attempts=st.integers(1, 50))
def test_a_passing_error_is_retried_until_attempts_are_used_up(failures: int, max_attempts: int) -> None:
    plan = lifecycle.plan_retry(
        Retries(), failures=failures, max_attempts=max_attempts, kind=ErrorKind.EXPECTED, spread=0.5
    )
    assert isinstance(plan, Retry if failures < max_attempts else GiveUp)


@pytest.mark.parametrize(
    "kind", [ErrorKind.PERMANENT, ErrorKind.UNSTORABLE, ErrorKind.EXPIRED, ErrorKind.CRASH_LOOP]
)
def test_what_would_end_the_same_way_is_not_retried(kind: ErrorKind) -> None:
    plan = lifecycle.plan_retry(Retries(), failures=1, max_attempts=9, kind=kind, spread=0.5)
    assert isinstance(plan, GiveUp)


@pytest.mark.parametrize(("failures", "or_later", "wait_s"), [(1, True, 30), (4, True, 135), (4, False, 30)])
def test_not_before_waits_for_the_later_of_its_own_and_the_contracts_delay(
    failures: int, or_later: bool, wait_s: float
) -> None:
    plan = lifecycle.plan_retry(
        Retries(),
        failures=failures,
        max_attempts=9,
        kind=ErrorKind.EXPECTED,
        spread=0.5,
        asked_s=30,
        or_later=or_later,
    )
    assert plan == lifecycle.Retry(timedelta(seconds=wait_s))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(), ErrorKind.BUG),
        (ExpectedError(), ErrorKind.EXPECTED),
        (ConnectionResetError(), ErrorKind.EXPECTED),
        (PermanentError(), ErrorKind.PERMANENT),
        (ZeroDivisionError(), ErrorKind.PERMANENT),
        (InvalidFields([]), ErrorKind.PERMANENT),
    ],
)
def test_errors_are_sorted_by_their_class_and_by_the_contract(error: Exception, kind: ErrorKind) -> None:
    assert lifecycle.classify(error, CONTRACT) is kind


def test_final_states_lead_nowhere_and_every_other_state_leads_to_one() -> None:
    assert {status for status, following in TRANSITIONS.items() if not following} == FINAL
    assert set(TRANSITIONS) == set(Status)
    for status in set(Status) - FINAL:
        assert TRANSITIONS[status] & FINAL
