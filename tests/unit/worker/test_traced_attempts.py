"""Tests of the tracing span of an attempt, and of the trace that the task's row contains."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import SkipMessage

from services.worker.recording.record import Row
from services.worker.running.executor import Executor
from services.worker.running.lifecycle import Lifecycle
from shared.telemetry import histogram, tracing
from tests.recorded_spans import RecordedSpans
from tests.sample_tasks import FAIL, INSTANT, SPAWN, TASKS, Nothing
from tests.unit.worker.attempts import Running, message_of

PRODUCER = f"00-{0xA:032x}-{0xB:016x}-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedSpans:
    recorded = RecordedSpans()
    monkeypatch.setattr(tracing, "_spans", recorded)
    return recorded


class Life:
    """Runs one attempt from its start to its outcome as a worker does, without servers."""

    def __init__(self, contract: Any, params: str, *, trace_context: str | None) -> None:
        self.running = Running.of(contract)
        self.attempt = self.running.attempt
        self.attempt.claim = msgspec.structs.replace(
            self.attempt.claim, params=params, trace_context=trace_context
        )
        self.attempt.number, self.attempt.started_at = 0, None
        self._lifecycle = Lifecycle(
            self.running.inbox, TASKS, self.running.means.ledger, self.running.means.vault
        )
        self._executor = Executor(TASKS, self.running.means)

    def live(self) -> Row:
        """Run start, body and outcome of the attempt.

        Returns the row as the recorder would write it.
        """
        broker, message = StubBroker(), message_of(self.attempt)
        self._lifecycle.before_process_message(broker, message)
        self._executor(self.attempt)
        self._lifecycle.after_process_message(broker, message)
        assert self.attempt.outcome is not None
        self.running.inbox.note_end(self.attempt, self.attempt.outcome)
        (entry,) = self.running.inbox.take().entries
        assert entry.row is not None
        return entry.row


def test_a_task_that_is_not_traced_makes_no_span(spans: RecordedSpans) -> None:
    life = Life(SPAWN, '{"children": 2}', trace_context=None)
    row = life.live()
    assert (row.status, row.trace_context, spans.begun) == ("success", None, [])
    assert [child.trace_context for child in life.attempt.children] == [None, None]


def test_an_attempt_is_traced_from_its_start_to_its_outcome(spans: RecordedSpans) -> None:
    life = Life(INSTANT, "{}", trace_context=PRODUCER)
    row = life.live()
    (span,) = spans.begun
    assert (span.name, span.kind, span.parent, span.links) == (
        "process sample.instant",
        "CONSUMER",
        PRODUCER,
        [],
    )
    assert span.attributes == {
        "messaging.system": "often_tasks",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "default",
        "messaging.message.id": str(life.attempt.id),
        "often.task": "sample.instant",
        "often.attempt": 1,
        "often.outcome": "success",
    }
    assert (span.error_type, span.ended, row.trace_context) == (None, True, span.context)
    assert tracing.labels() is None


def test_a_span_has_the_type_of_an_error_and_not_its_text(spans: RecordedSpans) -> None:
    row = Life(FAIL, '{"kind": "expected_by_contract"}', trace_context=PRODUCER).live()
    (span,) = spans.begun
    assert (row.status, span.attributes["often.outcome"]) == ("retry", "retry")
    assert row.error_message == "ConnectionError: refused"
    assert span.error_type == "builtins.ConnectionError"
    assert "refused" not in repr(span)


@pytest.mark.parametrize(("traces_retries", "context"), [(False, None), (True, "link")])
def test_the_attempt_after_a_failure_is_traced_if_the_setting_says_so(
    spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch, traces_retries: bool, context: str | None
) -> None:
    monkeypatch.setattr(tracing, "_traces_retries", traces_retries)
    row = Life(FAIL, '{"kind": "expected"}', trace_context=None).live()
    assert (row.status, row.trace_context, spans.begun) == ("retry", context, [])
    last = Life(FAIL, '{"kind": "permanent"}', trace_context=None).live()
    assert (last.status, last.trace_context) == ("failure", None)


def test_children_are_sent_by_the_attempt_and_late_ones_only_link(spans: RecordedSpans) -> None:
    running = Running.of(FAIL)
    running.attempt.span = parent = spans.begin("process", "CONSUMER", {}, parent=None, links=())
    running.context.submit(INSTANT, Nothing())
    running.context.submit(INSTANT, Nothing(), delay=timedelta(minutes=2))
    _, prompt, late = spans.begun
    assert {(span.name, span.kind, span.parent) for span in (prompt, late)} == {
        ("send sample.instant", "PRODUCER", parent.context)
    }
    contexts = [child.trace_context for child in running.attempt.children]
    assert contexts == [prompt.context, f"link {late.context}"]


def test_a_suspect_whose_start_was_not_committed_is_not_traced(
    spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(INSTANT, "{}", trace_context=PRODUCER)
    life.attempt.claim = msgspec.structs.replace(life.attempt.claim, suspect=True)
    monkeypatch.setattr(Lifecycle, "_start_is_committed", lambda *_: False)
    with pytest.raises(SkipMessage):
        life._lifecycle.before_process_message(StubBroker(), message_of(life.attempt))
    assert (life.attempt.span, life.attempt.trace_context, spans.begun[0].ended) == (None, None, False)


def test_waits_and_runs_name_the_trace_and_the_task_as_exemplars(spans: RecordedSpans) -> None:
    life = Life(INSTANT, "{}", trace_context=PRODUCER)
    life.live()
    exemplar = f'# {{task_id="{life.attempt.id}",trace_id="{0xA:032x}"}}'
    exposed = histogram.text(exemplars=True)
    for name in ("often_task_wait_seconds_bucket", "often_task_run_seconds_bucket"):
        assert [line for line in exposed.splitlines() if line.startswith(name) and exemplar in line]
