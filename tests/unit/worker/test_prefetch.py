from hypothesis import given
from hypothesis import strategies as st

from services.worker.claims import prefetch

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
    # Each task that ends beside it takes a switch of threads or more, which are 5 ms apart.
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
