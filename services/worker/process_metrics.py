"""Prometheus metrics of one worker process.

Their values are computed when Prometheus asks for them, so they cost nothing while tasks run.
"""

import platform
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from prometheus_client import Metric
from prometheus_client.registry import Collector

from services.worker.claims.claims import Claims
from services.worker.claims.heartbeat import Heartbeat
from services.worker.recording.inbox import Inbox
from services.worker.registry import TaskFunction
from shared.release import RELEASE
from shared.telemetry import metrics
from shared.telemetry.metrics import gauge

#: The states in which a worker can be.
STATES = ("running", "quiet", "draining")
TASK = ("queue", "task")


class ProcessMetrics(Collector):
    """Collects metrics from the parts of a worker process. The threads of the metrics server call
    it.
    """

    def __init__(
        self,
        worker: UUID,
        queue_names: Sequence[str],
        tasks: Mapping[str, TaskFunction[Any, Any]],
        claims: Claims,
        inbox: Inbox,
        heartbeat: Heartbeat,
    ) -> None:
        self._worker = worker
        self._queue_names = queue_names
        contracts = [task.contract for task in tasks.values() if task.contract.queue in queue_names]
        #: Queue and name of each kind of task that this worker serves. A task that was submitted
        #: under a queue's former name is exported only while it runs.
        self._known = sorted({(contract.queue, contract.name) for contract in contracts})
        self._claims = claims
        self._inbox = inbox
        self._heartbeat = heartbeat
        for queue, name in self._known:
            metrics.expect_attempts(queue, name)
        metrics.expect_cancels()
        metrics.expect_records()
        metrics.expect_bulk_acts()

    def describe(self) -> Iterable[Metric]:
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        yield from self._process()
        yield from self._bodies()

    def _process(self) -> Iterator[Metric]:
        held, state = self._claims, self._heartbeat.state
        yield gauge(
            "often_worker_info",
            "Always 1; its labels are the worker's id in Postgres and in the log, its host and its release.",
            ("worker", "host", "release"),
            {(str(self._worker), platform.node(), RELEASE): 1},
        )
        yield gauge("often_worker_threads", "Threads that run tasks.", (), {(): held.threads})
        yield gauge("often_worker_threads_busy", "Threads that are running a task.", (), {(): held.busy})
        yield gauge(
            "often_worker_tasks_held",
            "Claims of this process whose outcome is not yet written.",
            (),
            {(): len(held)},
        )
        yield gauge(
            "often_recorder_oldest_unwritten_seconds",
            "Age of the oldest record that is not committed to Postgres yet.",
            (),
            {(): self._inbox.oldest_unwritten_s()},
        )
        yield gauge(
            "often_worker_state",
            "1 for the current state of this worker, 0 for other states.",
            ("state",),
            {(name,): name == state for name in STATES},
        )
        yield gauge(
            "often_worker_serves",
            "1 while this worker serves the queue, even if the queue is paused.",
            ("queue",),
            {(name,): state == "running" for name in self._queue_names},
        )

    def _bodies(self) -> Iterator[Metric]:
        """Return metrics of running tasks.

        For each kind of task, they are the number of running attempts (0 if there is none), and how
        long the oldest one has been running.
        """
        running = dict.fromkeys(self._known, 0)
        longest: dict[tuple[str, str], float] = {}
        now = time.monotonic()
        for attempt in self._claims.running():
            # A thread may have taken the attempt without having started its body yet. Such an
            # attempt does not count. One whose body has ended counts until its hook has returned.
            if attempt.started_at is not None:
                task = attempt.queue, attempt.name
                running[task] = running.get(task, 0) + 1
                longest[task] = max(longest.get(task, 0.0), now - attempt.started_monotonic)
        yield gauge("often_tasks_running", "Attempts running in this process.", TASK, running)
        yield gauge(
            "often_task_longest_running_seconds",
            "How long the oldest attempt of the task in this process has been running.",
            TASK,
            longest,
        )
