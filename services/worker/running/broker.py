"""A Dramatiq broker and consumer that run the tasks that this process has claimed.

Dramatiq needs one consumer per queue, so it is given a single pseudo-queue. The real queue is in
the attempt. This broker enqueues nothing, because tasks are submitted through `shared.submission`.
"""

import logging
import time
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn, Self

from dramatiq.actor import Actor
from dramatiq.broker import Broker, Consumer, MessageProxy
from dramatiq.middleware import Middleware

from services.worker.claims.claim import Attempt
from services.worker.claims.claims import Claims
from services.worker.recording.inbox import Inbox
from services.worker.registry import TaskFunction
from services.worker.running import outcome
from services.worker.running.context import Means
from services.worker.running.event_loop import EventLoop
from services.worker.running.executor import Executor
from services.worker.running.lifecycle import Lifecycle
from services.worker.running.work_queue import PSEUDO_QUEUE
from shared.ledger.lifecycle import ErrorKind, Status
from shared.telemetry import metrics

log = logging.getLogger(__name__)


class LedgerBroker(Broker):
    """Gives the claimed tasks of this process to Dramatiq, and takes their outcomes."""

    def __init__(self, claims: Claims, inbox: Inbox, middleware: list[Middleware]) -> None:
        super().__init__(middleware=middleware)
        self._claims = claims
        self._inbox = inbox

    @classmethod
    def over(cls, claims: Claims, tasks: Mapping[str, TaskFunction[Any, Any]], means: Means) -> Self:
        """Create the broker of a worker, with all its middleware in the right order.

        Dramatiq runs `before` hooks from first to last and `after` hooks in reverse order.
        Dramatiq's own middleware Retries, AgeLimit, Callbacks and Pipelines is not used, because
        this platform does their work itself.
        """
        middleware: list[Middleware] = [
            # The middleware EventLoop comes first, so that the event loop of task bodies starts
            # before anything uses it and stops after everything else.
            EventLoop(means.database, pool_size=claims.threads),
            # The middleware Lifecycle comes last, so that its `before` hook runs after all others
            # have passed, and its `after` hook runs first.
            Lifecycle(means.inbox, tasks, means.ledger, means.vault),
        ]
        return cls(claims, means.inbox, middleware)

    def declare_tasks(self, tasks: Mapping[str, TaskFunction[Any, Any]], executor: Executor) -> None:
        """Declare a Dramatiq actor for each contract. All actors run the same executor."""
        for name in tasks:
            Actor(executor, broker=self, actor_name=name, queue_name=PSEUDO_QUEUE, priority=0, options={})

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def enqueue(self, message: Any, *, delay: int | None = None) -> NoReturn:
        raise RuntimeError("tasks are submitted through shared.submission, which stores their row first")

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1_000) -> "ClaimsConsumer":
        return ClaimsConsumer(self._claims, self._inbox, timeout_s=timeout / 1000)


class ClaimsConsumer(Consumer):
    """Passes the outcomes of tasks to the recorder. It has no state.

    Threads get their tasks from the `WorkQueue` and not from this consumer.
    """

    def __init__(self, claims: Claims, inbox: Inbox, *, timeout_s: float) -> None:
        self._claims = claims
        self._inbox = inbox
        self._timeout_s = timeout_s

    def __next__(self) -> None:
        """Return nothing after a pause. Dramatiq's consumer thread polls this method."""
        time.sleep(self._timeout_s)

    def ack(self, message: MessageProxy) -> None:
        pass_outcome(self._claims, self._inbox, message.args[0])

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Do nothing. Tasks that no thread has taken are given back by the worker process
        itself.
        """


def pass_outcome(claims: Claims, inbox: Inbox, attempt: Attempt) -> None:
    """Pass the outcome of an attempt to the recorder, unless another thread has done it.

    Outcomes of attempts are passed only here.
    """
    if not claims.begin_end(attempt):
        return
    if attempt.outcome is None:
        text = "the attempt ended without an outcome; a middleware failed, see the worker's log"
        attempt.outcome = outcome.broken(text, ErrorKind.BUG, failures=attempt.claim.failures + 1)
    ended = attempt.outcome
    try:
        inbox.note_end(attempt, ended)
    except Exception:
        text = "the outcome of a task could not be recorded; it is given back and soon runs again"
        log.exception(text, extra=attempt.fields)
        # The task is still assigned to this worker in Postgres. The reconciler gives back such
        # tasks if they are not in the worker's memory.
        claims.abandon(attempt)
        return
    claims.end(attempt)
    metrics.finished(attempt.queue, attempt.name, ended.label).inc()
    if ended.failure is not None:
        counter = metrics.RETRIED if ended.status is Status.RETRY else metrics.FAILED
        counter.labels(attempt.queue, attempt.name, ended.failure.kind).inc()
