"""The worker's side of `TaskContext`: what a body says goes to the recorder's inbox."""

import asyncio
import hashlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec
from dramatiq.asyncio import get_event_loop_thread

from services.worker.claims.claim import Attempt, Stage
from services.worker.recording.inbox import Inbox
from services.worker.recording.record import Child, LogLine, batched, child_columns
from services.worker.running import event_loop
from services.worker.running.outcome import MAX_MESSAGE_CHARS, clean
from services.worker.workflows.starts import Starts
from shared.contracts import checks
from shared.contracts.context import G
from shared.contracts.contract import Contract, Params, Result
from shared.errors import Cancelled, StaleClaim
from shared.ledger.database import Database
from shared.ledger.ids import uuid7, uuid7_of
from shared.ledger.transitions.record import COMPLETE
from shared.ledger.transitions.submit import SUBMIT_CHILDREN
from shared.telemetry.redaction import redact
from shared.vault import Vault
from shared.workflows import wiring

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Lines kept per attempt; a body that logs in a loop must not fill the ledger.
MAX_LOG_LINES = 1_000
MAX_PROGRESS_CHARS = 500


@dataclass(frozen=True, slots=True)
class Means:
    """What the contexts of a process share."""

    worker: UUID
    inbox: Inbox
    #: The pool of the bodies' event loop.
    database: Database
    #: The ledger's pool, whose clock follows the database.
    ledger: Database
    gateways: Mapping[type, Any]
    vault: Vault
    starts: Starts


class Context:
    """Implements `shared.contracts.context.TaskContext`.

    Once its attempt has ended, what a left-over thread says through it is dropped with one warning.
    """

    def __init__(self, attempt: Attempt, contract: Contract[Any, Any], means: Means) -> None:
        self._attempt = attempt
        self._contract = contract
        self._means = means
        self._log: logging.Logger | None = None
        self._submitted = self._started = 0
        self._warned = False
        #: What `complete_in` has written, and the transaction that commits it.
        self._completed: tuple[Any, Any] | None = None

    @property
    def id(self) -> UUID:
        return self._attempt.claim.id

    @property
    def attempt(self) -> int:
        return self._attempt.number

    @property
    def owner(self) -> int | None:
        return self._attempt.claim.owner

    @property
    def cancelled(self) -> bool:
        return self._attempt.cancel_requested

    def raise_if_cancelled(self) -> None:
        if self._attempt.cancel_requested:
            raise Cancelled(f"the cancellation of {self._attempt} was requested")

    @property
    def log(self) -> logging.Logger:
        if self._log is None:
            self._log = checks.attempt_logger(self._attempt.name, _KeptWithAttempt(self))
            self._log.parent = logging.getLogger()
        return self._log

    @property
    def database(self) -> Database:
        return self._means.database

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        checks.coroutine(work)
        thread = get_event_loop_thread()
        # The loop's own thread would wait for itself, and every async body with it.
        if thread is None or thread.ident == threading.get_ident():
            work.close()
            raise RuntimeError("context.wait_for is for plain bodies; an async body awaits")
        return event_loop.run(work, name=str(self._attempt))

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        checks.progress(current, total, message)
        if message is not None:
            message = clean(redact(message, self._attempt.secrets), MAX_PROGRESS_CHARS)
        if self._is_open():
            self._means.inbox.note_progress(self._attempt, current, total, message)

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
        self._submitted += 1
        checks.child(contract, params, key=key, delay=delay, priority=priority, number=self._submitted)
        stored_under = (key or f"#{self._submitted}") if at_once else None
        checked = contract.check_params(msgspec.to_builtins(params))
        id = uuid7(self._means.ledger.now()) if stored_under is None else child_id(self.id, stored_under)
        child = Child(
            id,
            contract,
            self._means.vault.seal_params(contract, checked, id, self.owner),
            contract.priority if priority is None else priority,
            delay,
            self.owner,
            self._attempt.claim.id,
            stored_under,
        )
        if not self._is_open():
            return child.id
        if at_once:
            self._means.inbox.note_child(self._attempt, child)
        else:
            self._attempt.children.append(child)
        return child.id

    async def start(self, flow: Any, *, key: str | None = None) -> UUID:
        self._started += 1
        checks.start(flow, key=key, owner=self.owner, number=self._started)
        graph = wiring.compile(flow)
        workflow_id = child_id(self.id, f"workflow {key or f'#{self._started}'}")
        if self._is_open():
            await self._means.starts.start(graph, workflow_id, owner=self.owner, parent=self.id)
        return workflow_id

    def gateway(self, kind: type[G]) -> G:
        gateway: G = self._means.gateways[kind]
        return gateway

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Any]:
        try:
            async with self._means.starts.pushed_after(), self._means.database.transaction() as transaction:
                yield transaction
        finally:
            self._means.inbox.release(self._attempt)
        # The recorder writes the same success again, and finds it recorded.
        if self._completed is not None and self._completed[0] is transaction:
            self._attempt.returned = self._completed[1]

    async def complete_in(self, transaction: Any, result: Result) -> None:
        if not self._means.database.in_transaction():
            raise ValueError("complete_in must be awaited inside the transaction that it is given")
        attempt = self._attempt
        assert attempt.started_at is not None  # the body runs
        seconds = time.monotonic() - attempt.started_monotonic
        stored = self._means.vault.seal_result(self._contract, result, self.id, self.owner)
        await asyncio.wrap_future(self._means.inbox.hold(attempt))
        rows = await self._means.database.run(
            COMPLETE,
            id=attempt.claim.id,
            claim=attempt.claim.number,
            worker=self._means.worker,
            attempt=attempt.number,
            started_at=attempt.started_at,
            ended_at=attempt.started_at + timedelta(seconds=seconds),
            execution_s=seconds,
            result=stored.text,
            key_id=stored.key_id,
        )
        if not rows:
            raise StaleClaim(attempt.claim.id, attempt.claim.number)
        for children in batched(attempt.children):
            await self._means.database.run(SUBMIT_CHILDREN, **child_columns(children))
        self._completed = transaction, result

    def keep_line(self, line: LogLine) -> None:
        """Keep a log line with the attempt."""
        if self._is_open():
            self._means.inbox.note_log(self._attempt, line)

    def line(self, ordinal: int, level: str, text: str) -> LogLine:
        """A log line of this attempt, as the ledger keeps it."""
        claim = self._attempt.claim
        message = clean(redact(text, self._attempt.secrets), MAX_MESSAGE_CHARS)
        return LogLine(claim.id, claim.number, ordinal, self._means.ledger.now(), level, message)

    def _is_open(self) -> bool:
        """False once the attempt has ended; warns the first time."""
        if self._attempt.stage is not Stage.ENDED:
            return True
        if not self._warned:
            self._warned = True
            log.warning("%s has ended, but something it left running still uses its context", self._attempt)
        return False


def child_id(parent: UUID, key: str) -> UUID:
    """The id of what a task stores at once under this key: the same in every attempt of the task.

    It has the parent's time, and so belongs into the partition that holds the parent.
    """
    digest = hashlib.sha256(parent.bytes + key.encode("utf-8", "replace")).digest()
    return uuid7_of(parent.int >> 80, int.from_bytes(digest[:10]))


class _KeptWithAttempt(logging.Handler):
    """Keeps each line with the attempt, up to a bound."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._ordinal = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._ordinal += 1
        if self._ordinal > MAX_LOG_LINES:
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - as every handler of `logging`: reported, not raised
            self.handleError(record)
            return
        if self._ordinal == MAX_LOG_LINES:
            text = f"more than {MAX_LOG_LINES} lines: the rest is in the worker's log only"
        self._context.keep_line(self._context.line(self._ordinal, record.levelname.lower(), text))
