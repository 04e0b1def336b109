"""Tests of hooks that do not return."""

import threading

import pytest

from services.worker.running import hooks
from services.worker.running.interrupts import interrupt
from services.worker.running.outcome import Outcome
from shared.contracts.context import TaskContext
from shared.contracts.hooks import Hooks
from shared.ledger.lifecycle import Status
from tests.sample_tasks import FAIL, Done
from tests.unit.worker.attempts import Running


def test_an_interrupt_ends_a_hook_and_leaves_the_outcome_alone(caplog: pytest.LogCaptureFixture) -> None:
    running, begun = Running.of(FAIL), threading.Event()
    attempt = running.attempt
    attempt.outcome = succeeded = Outcome(Status.SUCCESS)

    def spin(context: TaskContext, result: Done) -> None:
        begun.set()
        while True:
            pass

    thread = threading.Thread(target=hooks.call, args=(Hooks(on_success=spin), attempt, None), daemon=True)
    thread.start()
    assert begun.wait(5)
    assert interrupt(attempt)
    thread.join(5)
    assert not thread.is_alive()
    assert "a hook of a task failed; the task's outcome is unchanged" in caplog.text
    assert attempt.outcome is succeeded
    assert not interrupt(attempt)
