"""What a worker process says of itself when Prometheus asks. Worked out then, so it costs tasks nothing."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector

from services.worker.claims.claims import Claims
from services.worker.claims.heartbeat import Heartbeat
from services.worker.recording.inbox import Inbox
from services.worker.registry import TaskFunction
from shared.telemetry import metrics
from shared.telemetry.metrics import gauge

#: As the row of a worker has them.
STATES = ("running", "quiet", "draining")
TASK = ("queue", "task")


class ProcessMetrics(Collector):
    """Reads the parts of a process; asked in threads of the metrics' server."""

    def __init__(
        self,
        queue_names: Sequence[str],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        claims: Claims,
        inbox: Inbox,
        heartbeat: Heartbeat,
    ) -> None:
        self._queue_names = queue_names
        contracts = [task.contract for task in tasks.values() if task.contract.queue in queue_names]
        #: What is expected here; tasks of former queues are told of while they run.
        self._known = sorted({(contract.queue, contract.name) for contract in contracts})
        self._claims = claims
        self._inbox = inbox
        self._heartbeat = heartbeat
        for queue, name in self._known:
            metrics.expect_attempts(queue, name)
        metrics.expect_cancels()
        metrics.expect_records()

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._bodies()

    def _process(self) -> Iterator[Metric]:
        held, state = self._claims, self._heartbeat.state
        yield gauge("often_worker_threads", "Threads that run tasks.", (), {(): held.threads})
        yield gauge("often_worker_threads_busy", "Threads that have a task.", (), {(): held.busy})
        yield gauge(
            "often_worker_tasks_held",
            "Claims of this process whose outcome is not yet written.",
            (),
            {(): len(held)},
        )
        yield gauge(
            "often_recorder_oldest_unwritten_seconds",
            "How long the oldest record has waited that is not committed.",
            (),
            {(): self._inbox.oldest_unwritten_s()},
        )
        yield gauge(
            "often_worker_state",
            "1 for the state of this process.",
            ("state",),
            {(name,): name == state for name in STATES},
        )
        yield gauge(
            "often_worker_serves",
            "1 while this process serves the queue, whether that is paused or not.",
            ("queue",),
            {(name,): state == "running" for name in self._queue_names},
        )

    def _bodies(self) -> Iterator[Metric]:
        """Of every known task, so that one that has ended counts as none."""
        running = dict.fromkeys(self._known, 0)
        longest = dict.fromkeys(self._known, 0.0)
        now = time.monotonic()
        for attempt in self._claims.running():
            # A thread may have taken it and not begun, or have ended it a moment ago.
            if attempt.started_at is not None and attempt.outcome is None:
                task = attempt.queue, attempt.name
                running[task] = running.get(task, 0) + 1
                longest[task] = max(longest.get(task, 0.0), now - attempt.started_monotonic)
        yield gauge("often_tasks_running", "Attempts running in this process.", TASK, running)
        yield gauge(
            "often_task_longest_running_seconds",
            "Of the attempts running in this process: how long the one that began first has lasted.",
            TASK,
            longest,
        )
