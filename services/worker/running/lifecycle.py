"""Turns what Dramatiq sees of a task into its life in the ledger."""

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

from services.worker.claims.holdings import Holding
from services.worker.clock import DatabaseClock
from services.worker.recording.recorder import Recorder
from services.worker.registry import TaskFunction
from services.worker.running import outcome
from services.worker.running.outcome import Outcome
from shared.contracts.contract import Contract
from shared.errors import TimeLimitExceeded
from shared.ledger.lifecycle import EXPIRED_MESSAGE, ErrorKind, Status
from shared.telemetry import metrics
from shared.vault import Vault

log = logging.getLogger(__name__)

#: How long a suspect waits for its start to be committed before the claim is given back.
START_COMMIT_TIMEOUT_S = 10.0


class Lifecycle(Middleware):
    """Start, outcome and skip. The outcome is kept on the holding; the consumer's ack hands it on."""

    def __init__(
        self,
        recorder: Recorder,
        tasks: Mapping[str, TaskFunction[Any, Any]],
        clock: DatabaseClock,
        vault: Vault,
    ) -> None:
        self._recorder = recorder
        self._tasks = tasks
        self._clock = clock
        self._vault = vault

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Dramatiq swallows every exception here but SkipMessage, so whatever fails must end in a skip."""
        holding: Holding = message.args[0]
        try:
            skip = self._may_start(holding)
        except Exception as error:
            log.exception("could not start %s", holding)
            holding.outcome = outcome.broken(
                f"could not start: {error!r}", ErrorKind.BUG, failures=holding.failures + 1
            )
            skip = True
        if skip:
            raise SkipMessage

    def _may_start(self, holding: Holding) -> bool:
        """Begin the attempt; True when the body must not run."""
        if holding.cancel_requested:
            holding.outcome = Outcome(Status.REVOKED, failures=holding.failures)
            return True
        if holding.expired:
            holding.outcome = outcome.broken(EXPIRED_MESSAGE, ErrorKind.EXPIRED, failures=holding.failures)
            return True
        holding.attempt += 1
        # The clocks agree to a millisecond or so; a start never shows as earlier than its claim.
        holding.started_at = max(self._clock.now(), holding.claimed_at)
        if holding.suspect and not self._start_is_committed(holding):
            holding.attempt -= 1
            holding.started_at = None
            holding.outcome = given_back(holding)
            return True
        if not holding.suspect:
            self._recorder.note_start(holding)
        waited_s = (holding.started_at - holding.ready_at).total_seconds()
        measured = metrics.of_task(holding.queue, holding.name)
        measured.wait_seconds.observe(max(0.0, waited_s))
        measured.started.inc()
        return False

    def _start_is_committed(self, holding: Holding) -> bool:
        """A suspect's start is committed before its body runs, so that a death counts against it alone."""
        try:
            return self._recorder.note_committed_start(holding).result(START_COMMIT_TIMEOUT_S)
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
        holding: Holding = message.args[0]
        contract = self._tasks[holding.name].contract
        if exception is None or (isinstance(exception, Interrupt) and holding.returned is not None):
            holding.outcome = outcome.succeeded(
                contract, holding.returned, self._vault, failures=holding.failures
            )
        elif isinstance(exception, Interrupt):
            holding.outcome = interrupted(holding, contract, self._clock.now(), exception.__traceback__)
        else:
            holding.outcome = failed(holding, contract, exception, self._clock.now())
        if holding.outcome.failure is not None:
            self._log_failure(holding)
        ran_s = time.monotonic() - holding.started_monotonic
        metrics.of_task(holding.queue, holding.name).run_seconds.observe(ran_s)

    def _log_failure(self, holding: Holding) -> None:
        """Only what nobody foresaw is an error with a traceback; the ledger keeps all tracebacks."""
        ended = holding.outcome
        assert ended is not None
        assert ended.failure is not None
        follows = f"retry in {ended.wait_s:.1f} s" if ended.wait_s is not None else "no further attempt"
        if ended.failure.kind is ErrorKind.BUG:
            log.error("%s failed, %s\n%s", holding, follows, ended.failure.traceback)
        else:
            log.warning("%s failed, %s: %s", holding, follows, ended.failure.message)


def given_back(holding: Holding, *, wait_s: float = 0.0, reason: str | None = None) -> Outcome:
    """A claim that ends without an attempt; the row is as it was before."""
    return Outcome(Status(holding.status), wait_s=wait_s, failures=holding.failures, wait_reason=reason)


def failed(holding: Holding, contract: Contract[Any, Any], error: BaseException, now: datetime) -> Outcome:
    """An attempt whose body raised `error`."""
    return outcome.failed(
        contract,
        error,
        failures=holding.failures,
        max_attempts=holding.max_attempts,
        spread=random.random(),
        now=now,
        secrets=holding.secrets,
    )


def interrupted(
    holding: Holding, contract: Contract[Any, Any], now: datetime, where: TracebackType | None = None
) -> Outcome:
    """An attempt that was cut short: by its time limit it failed, by a drain it counts against nothing.

    `where` is what the body was doing.
    """
    if holding.cancel_requested:
        return Outcome(Status.REVOKED, failures=holding.failures)
    if holding.overran:
        error = TimeLimitExceeded(contract.time_limit).with_traceback(where)
        return failed(holding, contract, error, now)
    return Outcome(Status.PENDING, wait_s=0.0, failures=holding.failures, interruptions=1)
