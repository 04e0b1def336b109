import time
from datetime import UTC, datetime
from uuid import uuid4

from services.worker.claims.holdings import Holding, Holdings, Stage


def held(priority: int = 5, suspect: bool = False) -> Holding:
    return Holding(
        id=uuid4(),
        claim=1,
        name="sample.task",
        contract_version=1,
        queue="default",
        priority=priority,
        status="pending",
        params="{}",
        attempt=0,
        failures=0,
        max_attempts=3,
        suspect=suspect,
        owner=None,
        ready_at=datetime.now(UTC),
        claimed_at=datetime.now(UTC),
        cancel_requested=False,
        expired=False,
    )


def test_the_highest_priority_is_taken_first_and_equals_in_order() -> None:
    holdings = Holdings(threads=8)
    low, first, second, high = held(1), held(5), held(5), held(9)
    holdings.add([low, first, second, high])
    assert [holdings.take(0) for _ in range(4)] == [high, first, second, low]


def test_only_what_no_thread_has_taken_is_withdrawn() -> None:
    holdings = Holdings(threads=1)
    running, old, young = held(), held(), held()
    holdings.add([running])
    holdings.take(0)
    holdings.add([old, young])
    old.claimed_monotonic = time.monotonic() - 1
    assert holdings.withdraw(older_than_s=0.5) == [old]
    assert (old.stage, holdings.waiting, len(holdings)) == (Stage.ENDED, 1, 3)


def test_cancelling_takes_a_waiting_task_and_flags_a_running_one() -> None:
    holdings = Holdings(threads=1)
    running, waiting = held(9), held(1)
    holdings.add([running, waiting])
    holdings.take(0)
    assert holdings.cancel(waiting.id) is waiting
    assert holdings.cancel(running.id) is None
    assert running.cancel_requested
    assert holdings.cancel(uuid4()) is None
    assert holdings.waiting == 0


def test_a_closed_heap_gives_nothing_more() -> None:
    holdings = Holdings(threads=1)
    holdings.add([held()])
    holdings.close()
    assert holdings.take(0) is None
