"""Tests of the recorder's rounds while the tasks whose records they write go on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from services.worker.claims.claim import Attempt
from services.worker.recording.inbox import Inbox
from services.worker.recording.record import Entry, Written
from services.worker.recording.recorder import Recorder
from services.worker.running.outcome import Outcome
from shared.ledger.lifecycle import Status
from tests.sample_tasks import FAIL
from tests.unit.worker.attempts import Running

#: What happens while a round is being written.
Meanwhile = Callable[[], Awaitable[object]]


async def nothing() -> None:
    pass


class Committed:
    """A writer that commits every record, and a settlement that notes for which attempts it was
    called.
    """

    def __init__(self, meanwhile: Meanwhile = nothing) -> None:
        self.settled: list[Attempt] = []
        self._meanwhile = meanwhile

    async def write(self, entries: Sequence[Entry]) -> Written:
        await self._meanwhile()
        return {entry.attempt: {} for entry in entries}

    async def settle(self, entries: Sequence[Entry], written: Written) -> None:
        self.settled += [entry.attempt for entry in entries]


async def canceled(wait: "asyncio.Future[Any]") -> None:
    """Cancel the wait for a concurrent future. The future itself is canceled one turn later."""
    wait.cancel()
    await asyncio.sleep(0)


def recorder_of(inbox: Inbox, committed: Any) -> Recorder:
    return Recorder(inbox, committed, committed)


async def test_a_round_is_settled_although_a_body_in_it_no_longer_waits_to_lock_its_row() -> None:
    running, ended, other = (Running.of(FAIL) for _ in range(3))
    inbox = running.inbox
    waits: list[asyncio.Future[None]] = []

    async def one_is_canceled() -> None:
        waits.extend(asyncio.wrap_future(inbox.hold(r.attempt)) for r in (running, other))
        await canceled(waits[0])

    committed = Committed(one_is_canceled)
    inbox.note_start(running.attempt)
    inbox.note_start(other.attempt)
    inbox.note_end(ended.attempt, Outcome(Status.SUCCESS))
    await recorder_of(inbox, committed).run_once()
    assert committed.settled == [running.attempt, other.attempt, ended.attempt]
    await asyncio.wait_for(waits[1], 5)


async def test_a_suspect_that_no_longer_waits_for_its_start_does_not_keep_others_waiting() -> None:
    first, second = Running.of(FAIL), Running.of(FAIL)
    inbox = first.inbox
    committed = Committed()
    waits = [asyncio.wrap_future(inbox.note_committed_start(r.attempt)) for r in (first, second)]
    await canceled(waits[0])
    await recorder_of(inbox, committed).run_once()
    assert await asyncio.wait_for(waits[1], 5)


async def test_a_record_that_is_held_at_the_last_moment_makes_no_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, committed = Running.of(FAIL), Committed()
    inbox, take = running.inbox, running.inbox.take
    inbox.note_start(running.attempt)
    monkeypatch.setattr(inbox, "take", lambda: (inbox.hold(running.attempt), take())[1])
    await recorder_of(inbox, committed).run_once()
    assert committed.settled == []
    inbox.release(running.attempt)
    assert [entry.attempt for entry in take().entries] == [running.attempt]
