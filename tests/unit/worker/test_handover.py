"""Tests of the program that writes the last outcomes of a worker and then becomes a worker again."""

import errno
import os
import signal
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from services.worker.ending import STOP_SIGNALS
from services.worker.recording.record import Row
from services.worker.running import handover
from services.worker.running.handover import Handover
from shared.errors import ServerAway
from shared.ledger.database import Database
from shared.ledger.lifecycle import Status
from shared.ledger.statement import Statement
from shared.settings import Settings

SUCCESSOR = ["python", "-m", "services.worker"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Hand over the outcomes of a worker. Yields the command lines of the programs that are started
    after they are written.
    """
    programs: list[list[str]] = []
    left = Handover(uuid4(), [Row(uuid4(), 1, Status.PENDING, True, 1, 0)], SUCCESSOR)
    monkeypatch.setenv(handover.VARIABLE, msgspec.json.encode(left).decode())
    monkeypatch.setenv("DATABASE_URL", "postgres://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(handover, "configure", lambda *_: None)
    monkeypatch.setattr(os, "execv", lambda _, arguments: programs.append(arguments))
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield programs
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_outcomes_are_written_and_no_worker_follows_if_the_program_is_asked_to_stop(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []

    async def write(settings: Settings, left: Handover) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        written.append(left.worker)

    monkeypatch.setattr(handover, "write", write)
    assert handover.main() == 0
    assert (len(written), started) == (1, [])


@pytest.mark.parametrize("error", [ServerAway("Postgres"), asyncpg.UndefinedColumnError("no such column")])
def test_a_worker_follows_whatever_keeps_the_outcomes_from_being_written(
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    async def write(settings: Settings, left: Handover) -> None:
        raise error

    monkeypatch.setattr(handover, "write", write)
    handover.main()
    assert started == [SUCCESSOR]
    assert handover.NOT_STORED in caplog.text
    assert str(error) in caplog.text


class Accepting:
    """A database that accepts every statement."""

    async def open(self, *, size: int) -> None:
        pass

    async def run(self, statement: Statement, **values: Any) -> list[Any]:
        return []

    async def close(self) -> None:
        pass


def test_stored_outcomes_are_not_said_to_be_missing_if_only_redis_is_away(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Database, "for_service", lambda *_: Accepting())
    handover.main()
    assert started == [SUCCESSOR]
    assert "the outcomes of 1 tasks are stored, and only their ids remain in Redis" in caplog.text
    assert handover.NOT_STORED not in caplog.text


def test_outcomes_that_are_too_large_for_a_handover_are_left_to_the_rescuer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.E2BIG, "Argument list too long")

    # Whether the system refuses depends on its page size.
    monkeypatch.setattr(os, "execve", refuse)
    row = Row(uuid4(), 1, Status.SUCCESS, True, 1, 0, result="x" * 1_000_000)
    handover.leave(uuid4(), [row], SUCCESSOR)
    assert handover.NOT_STORED in caplog.text
