"""Tests of what the writer logs while Postgres accepts no records."""

from collections.abc import Callable, Sequence
from uuid import uuid4

import asyncpg
import pytest

from services.worker.recording import writer as writer_module
from services.worker.recording.record import Entry, Written
from services.worker.recording.writer import Writer
from shared.errors import ServerAway, ServerRefuses
from tests.sample_tasks import FAIL
from tests.unit.worker.attempts import Running

AWAY = ServerAway("Postgres")
READ_ONLY = ServerRefuses("Postgres", "it is read-only", sqlstate="25006")
FULL = ServerRefuses("Postgres", "its disk is full", sqlstate="53100")
LACKS_RIGHT = asyncpg.InsufficientPrivilegeError("permission denied for table task")

Fails = Callable[[Sequence[Exception]], Writer]


@pytest.fixture
def fails(monkeypatch: pytest.MonkeyPatch) -> Fails:
    """Make a writer whose tries raise these errors, one after the other, before one succeeds."""
    monkeypatch.setattr(writer_module, "RETRY_S", 0.0)

    def made(errors: Sequence[Exception]) -> Writer:
        left = list(errors)

        async def attempted(entries: Sequence[Entry]) -> Written:
            if left:
                raise left.pop(0)
            return {}

        writer = Writer(uuid4(), Running.of(FAIL).means.ledger, turned=lambda: None)
        monkeypatch.setattr(writer, "_try", attempted)
        return writer

    return made


async def reasons_logged(writer: Writer, caplog: pytest.LogCaptureFixture) -> list[str]:
    entry = Entry(Running.of(FAIL).attempt)
    entry.note_start()
    await writer.write([entry])
    assert not writer.blocked
    texts = [record.getMessage() for record in caplog.records]
    assert texts.pop() == "the ledger accepts records again"
    return [text.partition("written later: ")[2] for text in texts]


async def test_each_reason_for_which_records_are_kept_is_logged_once(
    fails: Fails, caplog: pytest.LogCaptureFixture
) -> None:
    errors = [AWAY, AWAY, READ_ONLY, FULL, LACKS_RIGHT, AWAY, LACKS_RIGHT]
    logged = await reasons_logged(fails(errors), caplog)
    assert logged == [str(error) for error in (AWAY, READ_ONLY, FULL, LACKS_RIGHT)]
    assert [record.exc_info is not None for record in caplog.records] == [False] * 3 + [True, False]


async def test_a_reason_that_lasts_is_logged_again(
    fails: Fails, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LOG_EVERY_S", 0.0)
    assert await reasons_logged(fails([AWAY, AWAY]), caplog) == [str(AWAY)] * 2


async def test_a_reason_is_logged_at_once_after_records_were_accepted(
    fails: Fails, caplog: pytest.LogCaptureFixture
) -> None:
    writer = fails([AWAY])
    await reasons_logged(writer, caplog)
    caplog.clear()
    writer._hold([], AWAY)
    assert len(caplog.records) == 1
