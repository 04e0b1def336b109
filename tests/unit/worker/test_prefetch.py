from hypothesis import given
from hypothesis import strategies as st

from services.worker.claims import prefetch
from services.worker.claims.fetcher import UNSTARTED_S

threads = st.integers(1, 64)


@given(threads=threads, busy=st.integers(0, 64), held=st.integers(0, 200), rate=st.floats(0, 1e5))
def test_never_more_than_the_bound_is_held(threads: int, busy: int, held: int, rate: float) -> None:
    ahead = prefetch.ahead(threads=threads, rate=rate, longest_s=0)
    n = prefetch.wanted(threads=threads, busy=busy, waiting=0, held=held, ahead=ahead)
    assert n >= 0
    assert held + n <= max(held, prefetch.MAX_HELD)


@given(threads=st.integers(8, 64), longest_s=st.floats(prefetch.LONG_TASK_S, 60))
def test_beside_a_body_that_keeps_the_interpreter_nothing_is_claimed_ahead(
    threads: int, longest_s: float
) -> None:
    # While a body holds the GIL, other threads get it only every 5 ms, so at most one task ends in
    # that time.
    ahead = prefetch.ahead(threads=threads, rate=1 / 0.005, longest_s=longest_s)
    assert prefetch.wanted(threads=threads, busy=threads, waiting=0, held=threads, ahead=ahead) == 0


def test_beside_a_long_task_that_leaves_the_others_alone_the_rest_is_claimed_ahead() -> None:
    assert prefetch.ahead(threads=8, rate=1_000, longest_s=60) == 40 - 8


def test_a_free_thread_is_served_at_once_also_beside_long_tasks() -> None:
    ahead = prefetch.ahead(threads=8, rate=0.1, longest_s=60)
    assert prefetch.has_room(threads=8, busy=7, waiting=0, ahead=ahead)
    assert prefetch.wanted(threads=8, busy=7, waiting=0, held=7, ahead=ahead) == 1


def test_short_tasks_are_claimed_ahead_and_refilled_below_half() -> None:
    ahead = prefetch.ahead(threads=8, rate=1_000, longest_s=0.01)

    def at(waiting: int) -> int:
        return prefetch.wanted(threads=8, busy=8, waiting=waiting, held=8 + waiting, ahead=ahead)

    assert (at(0), at(20), at(21), at(40)) == (40, 20, 0, 0)


def test_where_many_ids_wait_a_slow_worker_claims_enough_for_a_statement_to_pay() -> None:
    # 250 tasks per second is what each of 12 workers on two cores achieves.
    assert prefetch.ahead(threads=8, rate=250, longest_s=0.01) == 10
    assert prefetch.ahead(threads=8, rate=250, longest_s=0.01, deep=True) == 40


@given(rate=st.floats(0, 1e5), longest_s=st.floats(0, 60))
def test_what_is_claimed_ahead_starts_before_it_would_be_given_back(rate: float, longest_s: float) -> None:
    ahead = prefetch.ahead(threads=8, rate=rate, longest_s=longest_s, deep=True)
    assert ahead <= rate * UNSTARTED_S
    if longest_s >= prefetch.LONG_TASK_S:
        assert ahead == prefetch.ahead(threads=8, rate=rate, longest_s=longest_s)
