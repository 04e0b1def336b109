"""Tests of unexpected errors in the settlement, which is what the recorder does after its
commit.
"""

from typing import Any
from uuid import uuid4

import pytest

from services.worker.claims.claims import Claims
from services.worker.recording.record import Entry, Written
from services.worker.recording.settlement import Settlement
from services.worker.running.lifecycle import given_back
from shared.errors import ServerAway
from shared.ledger.tally import Tally
from shared.transport.queues import Queues, connect
from tests.metric_values import value
from tests.unit.worker.test_claims import held


class _Away:
    """A ledger that does not answer."""

    async def run(self, *_: Any, **__: Any) -> Any:
        raise ServerAway("Postgres")


class _Broken:
    """Raises an error that no server raises, as a programming error would."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"unforeseen in {name}")


@pytest.mark.parametrize("broken", ["ledger", "workflows"])
async def test_claims_that_have_ended_are_forgotten_whatever_fails_after_that(broken: str) -> None:
    claims = Claims(threads=1)
    attempt = held()
    claims.add([attempt])
    claims.take(0)
    claims.end(attempt)
    entry = Entry(attempt)
    entry.note_end(given_back(attempt), attempt.claim.claimed_at, None)
    unforeseen: Any = _Broken()
    settlement = Settlement(
        uuid4(),
        claims,
        unforeseen,
        Queues(connect("redis://127.0.0.1:1/0")),
        unforeseen,
        advance=lambda workflows: unforeseen.advance(),
    )
    written: Written = {} if broken == "ledger" else {attempt: {}}
    with pytest.raises(RuntimeError):
        await settlement.settle([entry], written)
    assert claims.ids() == set()


async def test_records_do_not_count_as_too_late_if_postgres_cannot_say_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    attempt = held()
    entry = Entry(attempt)
    entry.note_end(given_back(attempt), attempt.claim.claimed_at, None)
    ledger: Any = _Away()
    settlement = Settlement(
        uuid4(), Claims(threads=1), ledger, Queues(connect("redis://127.0.0.1:1/0")), Tally(ledger)
    )
    unknown = value("often_recorder_rows_total", verdict="unknown")
    await settlement.settle([entry], {})
    assert settlement.refused == 0
    assert value("often_recorder_rows_total", verdict="unknown") == unknown + 1
    assert "it is unknown whether they were stored before or came too late: Postgres does" in caplog.text
