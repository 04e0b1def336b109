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
from shared.transport.queues import Queues, connect
from tests.unit.worker.test_claims import held


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
