"""Turns what Dramatiq sees of a task into its life in the ledger."""

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
from shared.telemetry import metrics
from shared.vault import Vault

log = logging.getLogger(__name__)

#: How long a suspect waits for its start to be committed before the claim is given back.
START_COMMIT_TIMEOUT_S = 10.0
#: A task that was cut short this many times is reported when it begins again: it may never end.
MANY_INTERRUPTIONS = 3
#: Mean wait of a task whose body found no connection to Postgres.
CONNECTION_WAIT_S = 2.0
NO_CONNECTION = "Postgres had no connection left; raise max_connections, or run fewer workers or threads"


class Lifecycle(Middleware):
    """Start, outcome and skip. The outcome is kept on the attempt; the consumer's ack hands it on."""

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
        """Dramatiq swallows every exception here but SkipMessage, so whatever fails must end in a skip."""
        attempt: Attempt = message.args[0]
        try:
            attempt.outcome = self._start(attempt)
        except Exception as error:
            log.exception("could not start %s", attempt)
            failures = attempt.claim.failures + 1
            attempt.outcome = outcome.broken(f"could not start: {error!r}", ErrorKind.BUG, failures=failures)
        if attempt.outcome is not None:
            raise SkipMessage

    def _start(self, attempt: Attempt) -> Outcome | None:
        """Begin the attempt; an outcome says that the body must not run, and what follows instead."""
        claim = attempt.claim
        if attempt.cancel_requested:
            return Outcome(Status.REVOKED, failures=claim.failures)
        if claim.expired:
            return outcome.broken(EXPIRED_MESSAGE, ErrorKind.EXPIRED, failures=claim.failures)
        attempt.number += 1
        # The clocks agree to a millisecond or so; a start never shows as earlier than its claim.
        attempt.started_at = max(self._database.now(), claim.claimed_at)
        if claim.suspect and not self._start_is_committed(attempt):
            attempt.number -= 1
            attempt.started_at = None
            return given_back(attempt)
        if not claim.suspect:
            self._inbox.note_start(attempt)
        waited_s = (attempt.started_at - claim.ready_at).total_seconds()
        measured = metrics.of_task(claim.queue, claim.name)
        measured.wait_seconds.observe(max(0.0, waited_s))
        measured.started.inc()
        if claim.interruptions >= MANY_INTERRUPTIONS:
            _report_start_over(attempt)
        return None

    def _start_is_committed(self, attempt: Attempt) -> bool:
        """A suspect's start is committed before its body runs, so that a death counts against it alone."""
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
        task = self._tasks[attempt.name]
        # An interrupt may still arrive after the body has ended; what the body itself raised counts.
        error = attempt.error if attempt.error is not None else exception
        attempt.outcome = self._outcome(attempt, task.contract, error)
        if attempt.outcome.failure is not None:
            self._log_failure(attempt)
        hooks.call(task.hooks, attempt, error)
        # Its traceback holds the attempt and everything that the body had.
        attempt.error = None
        ran_s = time.monotonic() - attempt.started_monotonic
        metrics.of_task(attempt.queue, attempt.name).run_seconds.observe(ran_s)

    def _outcome(
        self, attempt: Attempt, contract: Contract[Any, Any], error: BaseException | None
    ) -> Outcome:
        """What follows the end of the body. Never raises: the task would end without its own error."""
        try:
            return self._decide(attempt, contract, error)
        except BaseException as trouble:  # noqa: BLE001 - a result that is nested too deeply, for example
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
            log.warning("%s is given back and waits: %s", attempt, NO_CONNECTION)
            return without_connection(attempt, spread=random.random())
        return failed(attempt, contract, error, self._database.now())

    def _log_failure(self, attempt: Attempt) -> None:
        """Only a bug is logged as an error with its traceback; the ledger keeps all tracebacks."""
        ended = attempt.outcome
        assert ended is not None
        assert ended.failure is not None
        follows = f"retry in {ended.wait_s:.1f} s" if ended.wait_s is not None else "no further attempt"
        if ended.failure.kind is ErrorKind.BUG:
            log.error("%s failed, %s\n%s", attempt, follows, ended.failure.traceback)
        else:
            log.warning("%s failed, %s: %s", attempt, follows, ended.failure.message)


def _report_start_over(attempt: Attempt) -> None:
    """It starts over again and again, as a task does that takes longer than its workers live."""
    metrics.STARTED_OVER.labels(attempt.queue, attempt.name).inc()
    log.warning(
        "%s starts over: its workers stopped or died %d times while it ran. Let it resume from what it has "
        "stored, split it, or raise OFTEN_WORKER_GRACE",
        attempt,
        attempt.claim.interruptions,
    )


def given_back(attempt: Attempt, *, wait_s: float = 0.0, reason: str | None = None) -> Outcome:
    """A claim that ends without an attempt; the row is as it was before."""
    return Outcome(
        Status(attempt.claim.status), wait_s=wait_s, failures=attempt.claim.failures, wait_reason=reason
    )


def failed(attempt: Attempt, contract: Contract[Any, Any], error: BaseException, now: datetime) -> Outcome:
    """An attempt whose body raised `error`."""
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
    """Postgres had no connection left for the body, and the body does not say that a retry is useless."""
    return sqlstate.lacks_connection(error) and classify(error, contract) is not ErrorKind.PERMANENT


def without_connection(attempt: Attempt, *, spread: float) -> Outcome:
    """An attempt that counts against nothing. It waits, so that others can end first."""
    return Outcome(
        Status.PENDING,
        wait_s=CONNECTION_WAIT_S * (0.5 + spread),
        failures=attempt.claim.failures,
        interruptions=1,
        wait_reason=NO_CONNECTION,
    )


def was_cut_short(attempt: Attempt, error: BaseException) -> bool:
    """This process interrupted the body, and what the body raised stems from that.

    Code that cleans up after an interrupt may raise another error, or wrap it in one.
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
    """An attempt that was cut short: with a fault it has failed, by a drain it counts against nothing.

    `where` is what the body was doing.
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
