"""The worker's side of `TaskContext`: what a body says goes to the recorder."""

import logging
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.worker.claims.holdings import Holding
from services.worker.clock import DatabaseClock
from services.worker.recording.record import Child, LogLine, child_columns
from services.worker.recording.recorder import Recorder
from services.worker.running.outcome import MAX_MESSAGE_CHARS, clean
from shared.contracts.context import G
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY, Contract, Params, Result
from shared.errors import FieldProblem, InvalidFields, StaleClaim
from shared.ledger import engine, statements
from shared.ledger.ids import uuid7
from shared.telemetry.redaction import redact
from shared.vault import Vault

#: Lines kept per attempt; a body that logs in a loop must not fill the ledger.
MAX_LOG_LINES = 1_000
MAX_PROGRESS_CHARS = 500


class Context:
    """Implements `shared.contracts.context.TaskContext`."""

    def __init__(
        self,
        holding: Holding,
        contract: Contract[Any, Any],
        recorder: Recorder,
        gateways: Mapping[type, Any],
        clock: DatabaseClock,
        vault: Vault,
    ) -> None:
        self._holding = holding
        self._contract = contract
        self._recorder = recorder
        self._gateways = gateways
        self._clock = clock
        self._vault = vault
        self._log: logging.Logger | None = None
        self._spawned = 0
        #: What `complete_in` has written, and the transaction that commits it.
        self._completed: tuple[Any, Any] | None = None

    @property
    def id(self) -> UUID:
        return self._holding.id

    @property
    def attempt(self) -> int:
        return self._holding.attempt

    @property
    def owner(self) -> int | None:
        return self._holding.owner

    @property
    def cancelled(self) -> bool:
        return self._holding.cancel_requested

    @property
    def log(self) -> logging.Logger:
        if self._log is None:
            # Not registered by name: it ends with the attempt.
            self._log = logging.Logger(f"task.{self._holding.name}", logging.INFO)
            self._log.parent = logging.getLogger()
            self._log.addHandler(_KeptWithAttempt(self._holding, self._recorder, self._clock))
        return self._log

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        if total is not None and total < 1:
            raise ValueError(f"progress total must be at least 1, not {total}")
        text = None if message is None else clean(redact(message, self._holding.secrets), MAX_PROGRESS_CHARS)
        self._recorder.note_progress(self._holding, max(0, current), total, text)

    def submit(
        self,
        contract: Contract[Any, Any],
        params: Params,
        *,
        key: str | None = None,
        at_once: bool = False,
        delay: timedelta | None = None,
        priority: int | None = None,
    ) -> UUID:
        priority = contract.priority if priority is None else priority
        if not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
            raise InvalidFields([FieldProblem("priority", "must be between 0 and 9; 9 is served first")])
        if not isinstance(params, contract.params):
            raise InvalidFields([FieldProblem("params", f"must be {contract.params.__name__}")])
        self._spawned += 1
        child = Child(
            uuid7(self._clock.now()),
            contract,
            self._vault.seal_params(contract, contract.check_params(msgspec.to_builtins(params))),
            priority,
            delay,
            self._holding.owner,
            self._holding.id,
            (key or f"#{self._spawned}") if at_once else None,
        )
        if at_once:
            self._recorder.note_child(self._holding, child)
        else:
            self._holding.children.append(child)
        return child.id

    def gateway(self, kind: type[G]) -> G:
        gateway: G = self._gateways[kind]
        return gateway

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        async with engine.transaction() as transaction:
            yield transaction
        # The recorder writes the same success again, and finds it standing.
        if self._completed is not None and self._completed[0] is transaction:
            self._holding.returned = self._completed[1]

    async def complete_in(self, transaction: Any, result: Result) -> None:
        if not engine.in_transaction():
            raise ValueError("complete_in must be awaited inside the transaction that it is given")
        holding = self._holding
        assert holding.started_at is not None  # the body runs
        seconds = time.monotonic() - holding.started_monotonic
        now = holding.started_at + timedelta(seconds=seconds)
        stored = self._vault.seal_result(self._contract, result)
        rows = await engine.run(
            statements.COMPLETE,
            *(holding.attempt, holding.started_at, now, seconds, *stored),
            *(holding.id, holding.claim, self._recorder.worker),
        )
        if not rows:
            raise StaleClaim(holding.id, holding.claim)
        if holding.children:
            await engine.run(statements.SUBMIT_CHILDREN, *child_columns(holding.children))
        self._completed = transaction, result


class _KeptWithAttempt(logging.Handler):
    """Hands each line to the recorder, up to a bound."""

    def __init__(self, holding: Holding, recorder: Recorder, clock: DatabaseClock) -> None:
        super().__init__()
        self._holding, self._recorder, self._clock = holding, recorder, clock
        self._ordinal = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._ordinal += 1
        if self._ordinal > MAX_LOG_LINES:
            return
        message = clean(redact(self.format(record), self._holding.secrets), MAX_MESSAGE_CHARS)
        if self._ordinal == MAX_LOG_LINES:
            message = f"more than {MAX_LOG_LINES} lines: the rest is in the worker's log only"
        holding = self._holding
        line = LogLine(
            holding.id, holding.claim, self._ordinal, self._clock.now(), record.levelname.lower(), message
        )
        self._recorder.note_log(holding, line)
