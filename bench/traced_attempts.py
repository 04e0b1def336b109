"""`python -m bench.traced_attempts COLLECTOR`: prints the processor time in µs that tracing one of a
hundred tasks adds to a task.

It is measured in an attempt, which is everything between the claim of a task and its record, without
servers, and in the exporter, which sends the spans to the collector.
"""

import dataclasses
import os
import statistics
import sys
import time
from typing import Any

import msgspec
from dramatiq.brokers.stub import StubBroker

from services.worker.claims.claim import Attempt
from services.worker.running.executor import Executor
from services.worker.running.lifecycle import Lifecycle
from shared.settings import Settings
from shared.telemetry import tracing
from tests.sample_tasks import INSTANT, TASKS
from tests.unit.worker.attempts import Running, message_of

#: Number of attempts that are run with tracing, and then without, and how often this is repeated.
#: The number is small, so that both run at the same speed on a busy machine. All spans fit into one
#: export.
COUNT, PAIRS = 1_000, 50
TRACED = 100
#: Environment variables for OpenTelemetry that postpone the export of spans to the end of the run.
LAST = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}
TRACE_CONTEXT = f"00-{1:032x}-{1:016x}-01"
#: Time limit in ms for the exporter to send the spans.
FLUSH_MS = 10_000


class Attempts:
    """Runs task attempts through the code of a worker, without servers."""

    def __init__(self, spans: Any) -> None:
        self._spans = spans
        self._running = Running.of(INSTANT)  # type: ignore[arg-type] # its parameters do not matter here
        means = self._running.means
        self._lifecycle = Lifecycle(self._running.inbox, TASKS, means.ledger, means.vault)
        self._executor = Executor(TASKS, means)
        self._broker = StubBroker()

    def cost_us(self, *, traced: bool) -> float:
        """Run COUNT attempts. Returns the processor time per attempt in µs."""
        claim = self._running.attempt.claim
        sampled = msgspec.structs.replace(claim, trace_context=TRACE_CONTEXT)
        claims = [sampled if traced and number % TRACED == 0 else claim for number in range(COUNT)]
        attempts = [Attempt.of(claim) for claim in claims]
        tracing._spans = self._spans if traced else None
        begun = time.process_time()
        for attempt in attempts:
            self._live(attempt)
        return 1e6 * (time.process_time() - begun) / COUNT

    def export_us(self) -> float:
        """Send all spans to the collector. Returns the processor time per span in µs."""
        begun = time.process_time()
        assert self._spans._queue.force_flush(FLUSH_MS), "the collector did not take the spans in time"
        return 1e6 * (time.process_time() - begun) / (PAIRS * COUNT / TRACED)

    def _live(self, attempt: Attempt) -> None:
        message = message_of(attempt)
        self._lifecycle.before_process_message(self._broker, message)
        self._executor(attempt)
        self._lifecycle.after_process_message(self._broker, message)
        assert attempt.outcome is not None
        self._running.inbox.note_end(attempt, attempt.outcome)
        self._running.inbox.take()


def main() -> None:
    os.environ.update(LAST, OTEL_EXPORTER_OTLP_ENDPOINT=sys.argv[1])
    tracing.start(dataclasses.replace(Settings(), tracing="on"), "worker", decides=False)
    attempts = Attempts(tracing._spans)
    attempts.cost_us(traced=True)
    attempts.export_us()
    added_us = [attempts.cost_us(traced=True) - attempts.cost_us(traced=False) for _ in range(PAIRS)]
    print(statistics.median(added_us) + attempts.export_us() / TRACED)


if __name__ == "__main__":
    main()
