import time
from datetime import UTC, datetime
from uuid import uuid4

from services.worker.claims.claim import Attempt, Claim, Stage
from services.worker.claims.claims import Claims


def held(
    priority: int = 5, suspect: bool = False, name: str = "sample.task", queue: str = "default"
) -> Attempt:
    claim = Claim(
        id=uuid4(),
        number=1,
        name=name,
        contract_version=1,
        queue=queue,
        priority=priority,
        status="pending",
        params="{}",
        attempt=0,
        failures=0,
        max_attempts=3,
        interruptions=0,
        suspect=suspect,
        owner=None,
        ready_at=datetime.now(UTC),
        claimed_at=datetime.now(UTC),
        cancel_requested_at=None,
        expired=False,
    )
    return Attempt.of(claim)


def test_the_highest_priority_is_taken_first_and_equals_in_order() -> None:
    claims = Claims(threads=8)
    low, first, second, high = held(1), held(5), held(5), held(9)
    claims.add([low, first, second, high])
    assert [claims.take(0) for _ in range(4)] == [high, first, second, low]


def test_only_what_no_thread_has_taken_is_withdrawn() -> None:
    claims = Claims(threads=1)
    running, old, young = held(), held(), held()
    claims.add([running])
    claims.take(0)
    claims.add([old, young])
    old.claimed_monotonic = time.monotonic() - 1
    assert claims.withdraw(older_than_s=0.5) == [old]
    assert (old.stage, claims.waiting, len(claims)) == (Stage.ENDED, 1, 3)


def test_cancelling_takes_a_waiting_task_and_flags_a_running_one() -> None:
    claims = Claims(threads=1)
    running, waiting = held(9), held(1)
    claims.add([running, waiting])
    claims.take(0)
    assert claims.cancel(waiting.id) is waiting
    assert claims.cancel(running.id) is None
    assert running.cancel_requested
    assert claims.cancel(uuid4()) is None
    assert claims.waiting == 0


def test_a_closed_heap_gives_nothing_more() -> None:
    claims = Claims(threads=1)
    claims.add([held()])
    claims.close()
    assert claims.take(0) is None


def test_the_end_of_an_earlier_claim_leaves_the_later_one() -> None:
    claims = Claims(threads=1)
    earlier = held()
    later = Attempt.of(earlier.claim)
    claims.add([earlier])
    claims.withdraw()
    claims.forget([earlier])
    claims.add([later])
    assert claims.take(0) is later
    claims.note_fetched_again([later.id])
    claims.end(earlier)
    assert claims.forget([earlier]) == []
    assert (claims.ids(), claims.running()) == ({later.id}, [later])
    assert claims.forget([later]) == [later.id]


def test_only_claims_of_the_given_queues_are_withdrawn() -> None:
    claims = Claims(threads=8)
    stays, goes = held(queue="email"), held(queue="payments")
    claims.add([goes, stays])
    assert claims.withdraw(queues={"payments"}) == [goes]
    assert claims.take(0) is stays
    assert claims.take(0) is None


def test_a_claim_that_is_kept_back_is_known_and_starts_nowhere() -> None:
    claims = Claims(threads=8)
    attempt = held()
    claims.keep_back([attempt])
    assert attempt.id in claims
    assert claims.take(0) is None
    assert claims.cancel(attempt.id) is None
