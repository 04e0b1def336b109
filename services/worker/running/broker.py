"""Dramatiq's broker and consumer over our claims.

Dramatiq wants one consumer per queue, so it sees a single pseudo-queue; the real queue rides on the attempt.
Nothing is enqueued here: tasks come in through `shared.submission`.
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
    """Knows the tasks of this process, and takes their outcomes back."""

    def __init__(self, claims: Claims, inbox: Inbox, middleware: list[Middleware]) -> None:
        super().__init__(middleware=middleware)
        self._claims = claims
        self._inbox = inbox

    @classmethod
    def over(cls, claims: Claims, tasks: Mapping[str, TaskFunction[Any, Any]], means: Means) -> Self:
        """The broker of a worker, with every middleware in order.

        Dramatiq runs `before` hooks down and `after` hooks up this list. Its own Retries, AgeLimit, Callbacks
        and Pipelines are left out: the ledger does their work.
        """
        middleware: list[Middleware] = [
            # First, so that the bodies' loop is up before anything may use it, and goes down last.
            EventLoop(means.database, pool_size=claims.threads),
            # Last, so that its `before` sees what the others let pass and its `after` sees the end first.
            Lifecycle(means.inbox, tasks, means.ledger, means.vault),
        ]
        return cls(claims, means.inbox, middleware)

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

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 1_000) -> "ClaimsConsumer":
        return ClaimsConsumer(self._claims, self._inbox, timeout_s=timeout / 1000)


class ClaimsConsumer(Consumer):
    """Hands outcomes to the recorder; threads get tasks from the `WorkQueue`. Holds no state of its own."""

    def __init__(self, claims: Claims, inbox: Inbox, *, timeout_s: float) -> None:
        self._claims = claims
        self._inbox = inbox
        self._timeout_s = timeout_s

    def __next__(self) -> None:
        """Dramatiq's consumer thread goes on asking."""
        time.sleep(self._timeout_s)

    def ack(self, message: MessageProxy) -> None:
        """The one point where an outcome leaves for the recorder."""
        attempt: Attempt = message.args[0]
        if attempt.outcome is None:
            text = "the attempt ended without an outcome; a middleware failed, see the worker's log"
            attempt.outcome = outcome.broken(text, ErrorKind.BUG, failures=attempt.claim.failures + 1)
        ended = attempt.outcome
        try:
            self._inbox.note_end(attempt, ended)
        except Exception:
            log.exception("could not record the end of %s; the worker gives it back within seconds", attempt)
            # The reconciler gives back what the ledger ascribes to this worker and its memory does not know.
            self._claims.abandon(attempt)
            return
        self._claims.end(attempt)
        metrics.finished(attempt.queue, attempt.name, ended.label).inc()
        if ended.status is Status.RETRY and ended.failure is not None:
            metrics.RETRIED.labels(attempt.queue, attempt.name, ended.failure.kind).inc()

    nack = ack

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Nothing to do: what no thread has taken is given back from the claims."""
