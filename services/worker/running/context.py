"""The context object that task bodies receive: the worker's implementation of `TaskContext`.

It passes the progress and the log lines of a task body to the recorder's inbox.
"""

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
from shared.new_task import FOLLOWS_WITHIN
from shared.telemetry import tracing
from shared.telemetry.fields import WithFields
from shared.telemetry.redaction import redact
from shared.vault import Vault
from shared.workflows import wiring

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Maximum number of log lines that are stored per attempt, so that a task body that logs in a loop
#: does not fill the database.
MAX_LOG_LINES = 1_000
MAX_PROGRESS_CHARS = 500


@dataclass(frozen=True, slots=True)
class Means:
    """Resources that all context objects of a process share."""

    worker: UUID
    inbox: Inbox
    #: Connection pool for the event loop on which task bodies run.
    database: Database
    #: Connection pool of the ledger event loop. It also provides the time by the database's clock.
    ledger: Database
    gateways: Mapping[type, Any]
    vault: Vault
    starts: Starts


class Context:
    """The context of one attempt; implements `shared.contracts.context.TaskContext`.

    Code of the task body that still runs after the attempt has ended may call it. Such calls are
    ignored, and the first one logs a warning.
    """

    def __init__(self, attempt: Attempt, contract: Contract[Any, Any], means: Means) -> None:
        self._attempt = attempt
        self._contract = contract
        self._means = means
        self._log: logging.Logger | None = None
        self._submitted = self._started = 0
        self._warned = False
        #: The transaction and the result that were passed to `complete_in`; None if it was not
        #: called.
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
        # `wait_for` must not be called on the thread of the event loop, because the loop would wait
        # for itself and block all async task bodies.
        if thread is None or thread.ident == threading.get_ident():
            work.close()
            raise RuntimeError(
                "context.wait_for is for plain task bodies; in an async task body, await the coroutine"
            )
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
            self._traced(contract, delay),
        )
        if not self._is_open():
            return child.id
        if at_once:
            self._means.inbox.note_child(self._attempt, child)
        else:
            self._attempt.children.append(child)
        return child.id

    def _traced(self, contract: Contract[Any, Any], delay: timedelta | None) -> str | None:
        """Return the trace context of a child task, or None if this attempt is not traced."""
        if self._attempt.span is None:
            return None
        described = {"messaging.destination.name": contract.queue, "often.task": contract.name}
        with tracing.within(self._attempt.span), tracing.sending(contract.name, described) as span:
            return tracing.context_of(span, follows=delay is None or delay <= FOLLOWS_WITHIN)

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
        # The result is set as if the body had returned it. The recorder then writes the same
        # success again and finds that it is already recorded.
        if self._completed is not None and self._completed[0] is transaction:
            self._attempt.returned = self._completed[1]

    async def complete_in(self, transaction: Any, result: Result) -> None:
        if not self._means.database.in_transaction():
            raise ValueError("complete_in must be awaited inside the transaction that it is given")
        attempt = self._attempt
        assert attempt.started_at is not None  # The start time is always set while the body runs
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
            trace_context=attempt.trace_context,
        )
        if not rows:
            raise StaleClaim(attempt.claim.id, attempt.claim.number)
        for children in batched(attempt.children):
            await self._means.database.run(SUBMIT_CHILDREN, **child_columns(children))
        self._completed = transaction, result

    @property
    def fields(self) -> dict[str, object]:
        """The fields that identify the attempt in a log line."""
        return self._attempt.fields

    def keep_line(self, line: LogLine) -> None:
        """Store a log line of this attempt in Postgres."""
        if self._is_open():
            self._means.inbox.note_log(self._attempt, line)

    def line(self, ordinal: int, level: str, text: str) -> LogLine:
        """Build a log line of this attempt in the form in which it is stored."""
        claim = self._attempt.claim
        message = clean(redact(text, self._attempt.secrets), MAX_MESSAGE_CHARS)
        return LogLine(claim.id, claim.number, ordinal, self._means.ledger.now(), level, message)

    def _is_open(self) -> bool:
        """Return True while the attempt runs. The first call after its end logs a warning."""
        if self._attempt.stage is not Stage.ENDED:
            return True
        if not self._warned:
            self._warned = True
            log.warning(
                "code that an ended task left running still uses its context; the calls are ignored",
                extra=self._attempt.fields,
            )
        return False


def child_id(parent: UUID, key: str) -> UUID:
    """Return the id of a child task that is stored immediately under this key.

    Every attempt of the parent gets the same id, so the child is stored only once. The id contains
    the parent's time, so the child is stored in the same daily partition as its parent.
    """
    digest = hashlib.sha256(parent.bytes + key.encode("utf-8", "replace")).digest()
    return uuid7_of(parent.int >> 80, int.from_bytes(digest[:10]))


class _KeptWithAttempt(logging.Handler):
    """A log handler that stores each log line with the attempt, up to MAX_LOG_LINES."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context
        self._ordinal = 0
        self.setFormatter(WithFields())

    def emit(self, record: logging.LogRecord) -> None:
        self._keep(record)
        # The fields are added because the record continues to the log of the process, which
        # contains lines of all attempts.
        vars(record).update(self._context.fields)

    def _keep(self, record: logging.LogRecord) -> None:
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
