"""Tests of the program that writes the last outcomes of a worker and then becomes a worker again."""

import os
import signal
from collections.abc import Iterator
from uuid import uuid4

import msgspec
import pytest

from services.worker.ending import STOP_SIGNALS
from services.worker.running import handover
from services.worker.running.handover import Handover
from shared.settings import Settings

SUCCESSOR = ["python", "-m", "services.worker"]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[list[str]]]:
    """Hand over the outcomes of a worker. Yields the command lines of the programs that are started
    after they are written.
    """
    programs: list[list[str]] = []
    left = Handover(uuid4(), [], SUCCESSOR)
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
