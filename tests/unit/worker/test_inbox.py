"""Tests of the inbox, which collects what threads note about their tasks until the recorder takes
it.
"""

import time
from typing import cast
from uuid import UUID

import pytest

from services.worker.claims.claim import Attempt
from services.worker.recording import inbox as inbox_module
from services.worker.recording.inbox import Inbox
from services.worker.running.broker import ClaimsConsumer
from services.worker.running.outcome import Outcome
from shared.ledger.lifecycle import Status
from tests.sample_tasks import FAIL
from tests.unit.worker.attempts import Running, message_of

SUCCESS = Outcome(Status.SUCCESS)


def taken(inbox: Inbox) -> list[Attempt]:
    return [entry.attempt for entry in inbox.take().entries]


def test_two_claims_of_one_task_have_a_record_each() -> None:
    earlier = Running.of(FAIL)
    later = Attempt.of(earlier.attempt.claim)
    earlier.inbox.note_progress(earlier.attempt, 1, 2, "left over")
    earlier.inbox.note_end(later, SUCCESS)
    entries = earlier.inbox.take().entries
    assert [entry.attempt for entry in entries] == [earlier.attempt, later]
    assert [entry.released for entry in entries] == [False, True]


def test_a_record_is_held_until_its_transaction_ends_and_the_others_are_taken() -> None:
    running = Running.of(FAIL)
    inbox, neighbor = running.inbox, Running.of(FAIL).attempt
    assert inbox.hold(running.attempt).done()
    inbox.note_progress(running.attempt, 1, 2, None)
    assert inbox.empty
    assert inbox.oldest_unwritten_s() == 0
    inbox.note_end(neighbor, SUCCESS)
    assert taken(inbox) == [neighbor]
    inbox.release(running.attempt)
    assert taken(inbox) == [running.attempt]


def test_the_end_of_an_attempt_is_never_held() -> None:
    running = Running.of(FAIL)
    running.inbox.hold(running.attempt)
    running.inbox.note_end(running.attempt, SUCCESS)
    assert taken(running.inbox) == [running.attempt]


async def test_a_row_is_locked_only_after_the_round_that_contains_it() -> None:
    running = Running.of(FAIL)
    running.inbox.note_start(running.attempt)
    assert await running.inbox.wait()
    batch = running.inbox.take()
    free = running.inbox.hold(running.attempt)
    assert not free.done()
    running.inbox.done(batch)
    assert free.done()


def test_a_round_takes_no_more_children_than_one_attempt_may_have(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "MAX_CHILDREN_IN_ROUND", 3)
    first, second, neighbor = (Running.of(FAIL).attempt for _ in range(3))
    inbox = Running.of(FAIL).inbox
    for attempt in (first, second):
        attempt.children = [None] * 3
    for attempt in (first, second, neighbor):
        inbox.note_end(attempt, SUCCESS)
    assert taken(inbox) == [first, neighbor]
    assert taken(inbox) == [second]


class Deaf:
    """An inbox that fails to accept the end of any task."""

    def note_end(self, attempt: Attempt, outcome: Outcome) -> None:
        raise RuntimeError("deaf")


def test_a_claim_whose_end_cannot_be_handed_over_is_forgotten_so_that_it_is_given_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = Running.of(FAIL)
    running.attempt.outcome = SUCCESS
    ClaimsConsumer(running.claims, cast(Inbox, Deaf()), timeout_s=0).ack(message_of(running.attempt))
    ids: set[UUID] = running.claims.ids()
    assert (ids, running.claims.busy) == (set(), 0)
    assert "is given back and soon runs again" in caplog.text


@pytest.mark.parametrize(("deep", "waits_s"), [(False, 0.003), (True, inbox_module.DEEP_WAIT_S)])
async def test_a_round_of_one_waits_longer_for_company_while_many_ids_wait(
    deep: bool, waits_s: float
) -> None:
    running = Running.of(FAIL)
    running.inbox.deep = deep
    running.inbox.note_start(running.attempt)
    assert await running.inbox.wait()
    running.inbox.done(running.inbox.take())
    running.inbox.note_end(running.attempt, SUCCESS)
    begun = time.monotonic()
    assert await running.inbox.wait()
    assert waits_s * 0.9 <= time.monotonic() - begun < waits_s + 0.09
