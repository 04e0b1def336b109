"""Tests of when a worker interrupts a body or its hook, and of the outcomes that it hands over for
attempts that end with its process.
"""

from datetime import timedelta

import pytest

from services.worker.running.outcome import Outcome
from services.worker.running.time_limits import INTERRUPT_GRACE_S, Step, TimeLimits, step
from shared.ledger.lifecycle import Status
from tests.sample_tasks import FAIL, INSTANT, TASKS, Nothing
from tests.unit.worker.attempts import Running


@pytest.mark.parametrize(("children", "status"), [(0, Status.SUCCESS), (1, Status.PENDING)])
def test_a_decided_outcome_is_handed_over_unless_its_children_would_be_missing(
    children: int, status: Status
) -> None:
    running = Running.of(FAIL)
    for _ in range(children):
        running.context.submit(INSTANT, Nothing())
    running.attempt.outcome = Outcome(Status.SUCCESS)
    row = TimeLimits(running.claims, TASKS, running.means.ledger).final_row(running.attempt)
    assert (row.status, row.released) == (status, True)


def test_a_hook_after_an_interrupted_body_is_interrupted_before_the_process_is_replaced() -> None:
    attempt, limit = Running.of(FAIL).attempt, timedelta(seconds=10)
    attempt.started_monotonic, attempt.interrupted_monotonic = 100.0, 110.0
    attempt.hook_monotonic = 112.0
    grace_ends = 112.0 + INTERRUPT_GRACE_S
    assert [step(attempt, limit, now) for now in (grace_ends - 1, grace_ends)] == [Step.WAIT, Step.INTERRUPT]
    attempt.interrupted_monotonic = grace_ends
    last = grace_ends + INTERRUPT_GRACE_S
    assert [step(attempt, limit, now) for now in (last - 1, last)] == [Step.WAIT, Step.REPLACE]
