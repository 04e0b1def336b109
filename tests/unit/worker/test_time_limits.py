"""Tests of the outcomes that a worker hands over for attempts that end with its process."""

import pytest

from services.worker.running.outcome import Outcome
from services.worker.running.time_limits import TimeLimits
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
