"""Starts and ends the attempts of tasks, as middleware that Dramatiq calls around each message."""

import asyncio
import logging
import random
import time
from collections.abc import Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from datetime import datetime
from types import TracebackType
from typing import Any

from dramatiq.broker import Broker, MessageProxy
from dramatiq.middleware import Middleware, SkipMessage
from dramatiq.threading import Interrupt

from services.worker.claims.claim import Attempt
from services.worker.recording.inbox import Inbox
from services.worker.registry import TaskFunction
from services.worker.running import hooks, outcome
from services.worker.running.outcome import Outcome
from shared.contracts.contract import Contract
from shared.ledger import sqlstate
from shared.ledger.database import Database
from shared.ledger.lifecycle import EXPIRED_MESSAGE, ErrorKind, Status, classify
from shared.telemetry import metrics, tracing
from shared.telemetry.tracing import Span
from shared.vault import Vault

log = logging.getLogger(__name__)

#: Maximum time for which a suspect (a task that may have killed a worker) waits until its start is
#: committed. After that, the worker gives the task back and it runs later.
START_COMMIT_TIMEOUT_S = 10.0
#: Number of interruptions of a task after which each new start logs a warning, because the task may
#: never finish.
MANY_INTERRUPTIONS = 3
#: Mean delay before a task runs again whose body got no connection to Postgres.
CONNECTION_WAIT_S = 2.0
NO_CONNECTION = "Postgres had no connection left; raise max_connections, or run fewer workers or threads"


class Lifecycle(Middleware):
    """Middleware that starts attempts, skips those that must not run, and decides their outcomes.

    It stores the outcome in the `Attempt` object. The recorder writes it after Dramatiq has
    acknowledged the message.
    """

    def __init__(
        self,
        inbox: Inbox,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        database: Database,
        vault: Vault,
    ) -> None:
        self._inbox = inbox
        self._tasks = tasks
        self._database = database
        self._vault = vault

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Start the attempt, or skip it by raising SkipMessage.

        Dramatiq ignores all other exceptions from this method. Any error must therefore lead to a
        skip, because Dramatiq would otherwise run the task body.
        """
        attempt: Attempt = message.args[0]
        try:
            attempt.outcome = self._start(attempt)
        except Exception as error:
            log.exception("could not start a task; the attempt counts as failed", extra=attempt.fields)
            failures = attempt.claim.failures + 1
            attempt.outcome = outcome.broken(f"could not start: {error!r}", ErrorKind.BUG, failures=failures)
        if attempt.outcome is not None:
            raise SkipMessage

    def _start(self, attempt: Attempt) -> Outcome | None:
        """Begin the attempt. Returns an outcome if the task body must not run, otherwise None."""
        claim = attempt.claim
        if attempt.cancel_requested:
            return Outcome(Status.REVOKED, failures=claim.failures)
        if claim.expired:
            return outcome.broken(EXPIRED_MESSAGE, ErrorKind.EXPIRED, failures=claim.failures)
        attempt.number += 1
        # The start must never seem earlier than the claim, whose time comes from Postgres. The
        # clock of this process may differ from that of Postgres by about 1 ms.
        attempt.started_at = max(self._database.now(), claim.claimed_at)
        if claim.trace_context is not None:
            _begin_span(attempt, claim.trace_context)
        if claim.suspect and not self._start_is_committed(attempt):
            attempt.number -= 1
            attempt.started_at = attempt.span = attempt.trace_context = None
            return given_back(attempt)
        if not claim.suspect:
            self._inbox.note_start(attempt)
        waited_s = (attempt.started_at - claim.ready_at).total_seconds()
        measured = metrics.of_task(claim.queue, claim.name)
        measured.wait_seconds.observe(max(0.0, waited_s), attempt.span.labels if attempt.span else None)
        measured.started.inc()
        if claim.interruptions >= MANY_INTERRUPTIONS:
            _report_start_over(attempt)
        return None

    def _start_is_committed(self, attempt: Attempt) -> bool:
        """Wait until the start of a suspect is committed. Returns False if it was not.

        Once it is committed, the ledger shows that this task was running. If the worker then dies,
        only this task is suspected of having killed it.
        """
        try:
            return self._inbox.note_committed_start(attempt).result(START_COMMIT_TIMEOUT_S)
        except FutureTimeout:
            return False

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        attempt: Attempt = message.args[0]
        with tracing.within(attempt.span):
            self._end(attempt, exception)

    def _end(self, attempt: Attempt, exception: BaseException | None) -> None:
        task = self._tasks[attempt.name]
        # An interrupt may still arrive after the task body has ended. If the body itself raised an
        # exception, that exception decides the outcome.
        error = attempt.error if attempt.error is not None else exception
        attempt.outcome = self._outcome(attempt, task.contract, error)
        if attempt.outcome.failure is not None:
            self._log_failure(attempt)
        hooks.call(task.hooks, attempt, error)
        # Drop the exception to free memory, because its traceback refers to the attempt and to all
        # local variables of the task body.
        attempt.error = None
        ran_s = time.monotonic() - attempt.started_monotonic
        metrics.of_task(attempt.queue, attempt.name).run_seconds.observe(ran_s, tracing.labels())
        if attempt.span is not None:
            _end_span(attempt.span, attempt.outcome)
        elif attempt.outcome.status is Status.RETRY:
            attempt.trace_context = tracing.context_of_retry()

    def _outcome(
        self, attempt: Attempt, contract: Contract[Any, Any], error: BaseException | None
    ) -> Outcome:
        """Decide the outcome of an attempt.

        This method never raises, because the task's own error would then be lost.
        """
        try:
            return self._decide(attempt, contract, error)
        except BaseException as trouble:  # noqa: BLE001 - an interrupt that comes late, for example
            return failed(attempt, contract, trouble, self._database.now())

    def _decide(self, attempt: Attempt, contract: Contract[Any, Any], error: BaseException | None) -> Outcome:
        cut_short = error is not None and was_cut_short(attempt, error)
        returned = attempt.returned is not None and (error is None or cut_short)
        if attempt.cancel_requested and not returned:
            return Outcome(Status.REVOKED, failures=attempt.claim.failures)
        if error is None or returned:
            claim = attempt.claim
            return outcome.succeeded(
                contract, attempt.returned, self._vault, claim.id, claim.owner, failures=claim.failures
            )
        if cut_short:
            return interrupted(attempt, contract, self._database.now(), error.__traceback__)
        if lacked_connection(error, contract):
            text = "a task is given back and retried later: %s (%s)"
            log.warning(text, NO_CONNECTION, error, extra=attempt.fields)
            return without_connection(attempt, spread=random.random())
        return failed(attempt, contract, error, self._database.now())

    def _log_failure(self, attempt: Attempt) -> None:
        """Log a failed attempt.

        The log contains the traceback only if the error was unexpected. The ledger stores the
        traceback of every error.
        """
        ended = attempt.outcome
        assert ended is not None
        assert ended.failure is not None
        follows = f"retry in {ended.wait_s:.1f} s" if ended.wait_s is not None else "no further attempt"
        if ended.failure.kind is ErrorKind.BUG:
            traceback = ended.failure.traceback
            log.error(
                "a task failed with an unexpected exception, %s\n%s", follows, traceback, extra=attempt.fields
            )
        else:
            log.warning("a task failed, %s: %s", follows, ended.failure.message, extra=attempt.fields)


def _begin_span(attempt: Attempt, trace_context: str) -> None:
    """Begin the trace span of the attempt. From then on, the task's row refers to this span."""
    attempt.span = tracing.begin_attempt(
        trace_context, attempt.name, attempt.queue, attempt.id, attempt.number
    )
    attempt.trace_context = attempt.span.context if attempt.span else None


def _end_span(span: Span, ended: Outcome) -> None:
    span.set({"often.outcome": ended.label})
    if ended.failure is not None:
        cause = ended.failure.cause
        span.fail((cause and cause.type) or ended.failure.kind)
    span.end()


def _report_start_over(attempt: Attempt) -> None:
    """Warn about a task that was interrupted many times and starts from the beginning each time.

    Its workers stopped or died before it was finished.
    """
    metrics.STARTED_OVER.labels(attempt.queue, attempt.name).inc()
    log.warning(
        "a task starts over: its workers stopped or died %d times while it ran. Let it resume from what it "
        "has stored, split it, or raise OFTEN_WORKER_GRACE",
        attempt.claim.interruptions,
        extra=attempt.fields,
    )


def given_back(attempt: Attempt, *, wait_s: float = 0.0, reason: str | None = None) -> Outcome:
    """The outcome of a claim that ends without an attempt.

    The task returns to its earlier state.
    """
    return Outcome(
        Status(attempt.claim.status), wait_s=wait_s, failures=attempt.claim.failures, wait_reason=reason
    )


def failed(attempt: Attempt, contract: Contract[Any, Any], error: BaseException, now: datetime) -> Outcome:
    """The outcome of an attempt whose body raised `error`."""
    return outcome.failed(
        contract,
        error,
        failures=attempt.claim.failures,
        max_attempts=attempt.claim.max_attempts,
        spread=random.random(),
        now=now,
        secrets=attempt.secrets,
    )


def lacked_connection(error: BaseException, contract: Contract[Any, Any]) -> bool:
    """True if the body failed because Postgres had no free connection, and a retry may help."""
    return sqlstate.lacks_connection(error) and classify(error, contract) is not ErrorKind.PERMANENT


def without_connection(attempt: Attempt, *, spread: float) -> Outcome:
    """The outcome of an attempt whose task body got no connection to Postgres.

    The attempt does not count as a failure. The task waits a few seconds, in which other tasks may
    end and free connections.
    """
    return Outcome(
        Status.PENDING,
        wait_s=CONNECTION_WAIT_S * (0.5 + spread),
        failures=attempt.claim.failures,
        interruptions=1,
        wait_reason=NO_CONNECTION,
    )


def was_cut_short(attempt: Attempt, error: BaseException) -> bool:
    """True if this process interrupted the task body and `error` is a consequence of the interrupt.

    Cleanup code in the body may raise another error during an interrupt, so the chain of causes is
    searched.
    """
    link: BaseException | None = error
    for _ in range(sqlstate.MAX_CHAIN if attempt.interrupt_pending else 0):
        if link is None or isinstance(link, (Interrupt, asyncio.CancelledError)):
            return link is not None
        link = link.__cause__ or link.__context__
    return False


def interrupted(
    attempt: Attempt, contract: Contract[Any, Any], now: datetime, where: TracebackType | None = None
) -> Outcome:
    """The outcome of an attempt that this process interrupted.

    A canceled task is revoked. An attempt with a `fault`, such as an exceeded time limit, fails.
    Otherwise, the worker is stopping: the task runs again, and the attempt does not count as a
    failure. `where` is the traceback that shows what the task body was doing.
    """
    if attempt.cancel_requested:
        return Outcome(Status.REVOKED, failures=attempt.claim.failures)
    if attempt.fault is not None:
        return failed(attempt, contract, attempt.fault.with_traceback(where), now)
    times = attempt.claim.interruptions + 1
    reason = f"cut short {times} times because its worker stopped" if times > 1 else "its worker stopped"
    return Outcome(
        Status.PENDING, wait_s=0.0, failures=attempt.claim.failures, interruptions=1, wait_reason=reason
    )
