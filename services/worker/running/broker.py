"""Dramatiq's broker and consumer over our holdings.

Dramatiq wants one consumer per queue, so it sees a single pseudo-queue; the real queue rides on the holding.
Nothing is enqueued here: tasks come in through `shared.submission`.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from dramatiq.actor import Actor
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.middleware import Middleware

from services.worker.claims.holdings import Holding, Holdings
from services.worker.recording.recorder import Recorder
from services.worker.registry import TaskFunction
from services.worker.running import outcome
from services.worker.running.executor import Executor
from services.worker.running.work_queue import PSEUDO_QUEUE
from shared.ledger.lifecycle import ErrorKind, Status
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class LedgerBroker(Broker):
    """Knows the tasks of this process, and takes their outcomes back."""

    def __init__(self, holdings: Holdings, recorder: Recorder, middleware: list[Middleware]) -> None:
        super().__init__(middleware=middleware)
        self._holdings = holdings
        self._recorder = recorder

    def declare_tasks(self, tasks: Mapping[str, TaskFunction[Any, Any]], executor: Executor) -> None:
        """One actor per contract; all run the same executor."""
        for name in tasks:
            Actor(executor, broker=self, actor_name=name, queue_name=PSEUDO_QUEUE, priority=0, options={})

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Any, *, delay: int | None = None) -> NoReturn:
        raise RuntimeError("tasks are submitted through shared.submission, which stores their row first")

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1_000) -> "HoldingsConsumer":
        return HoldingsConsumer(self._holdings, self._recorder, timeout_s=timeout / 1000)


class HoldingsConsumer(Consumer):
    """Hands outcomes to the recorder; threads get tasks from the `WorkQueue`. Holds no state of its own."""

    def __init__(self, holdings: Holdings, recorder: Recorder, *, timeout_s: float) -> None:
        self._holdings = holdings
        self._recorder = recorder
        self._timeout_s = timeout_s

    def __next__(self) -> None:
        """Dramatiq's consumer thread goes on asking."""
        time.sleep(self._timeout_s)

    def ack(self, message: MessageProxy) -> None:
        """The one point where an outcome leaves for the recorder. Never raises: nobody would repeat it."""
        holding: Holding = message.args[0]
        try:
            if holding.outcome is None:
                text = "the attempt ended without an outcome; a middleware failed, see the worker's log"
                holding.outcome = outcome.broken(text, ErrorKind.BUG, failures=holding.failures + 1)
            ended = holding.outcome
            self._recorder.note_end(holding, ended)
            self._holdings.end(holding)
            metrics.finished(holding.queue, holding.name, ended.label).inc()
            if ended.status is Status.RETRY and ended.failure is not None:
                metrics.RETRIED.labels(holding.queue, holding.name, ended.failure.kind).inc()
        except Exception:
            log.exception("could not record the end of %s; the worker gives it back within seconds", holding)

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Nothing to do: what no thread has taken is given back from the holdings."""
