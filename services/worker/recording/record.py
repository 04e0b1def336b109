"""The data that the recorder writes to Postgres for one attempt."""

import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import msgspec

from services.worker.claims.claim import Attempt
from services.worker.running.outcome import Outcome
from shared.contracts.contract import Contract
from shared.ledger.lifecycle import Status
from shared.ledger.transitions.record import sparse
from shared.vault import Stored

T = TypeVar("T")

#: Maximum number of child tasks that one statement stores. Postgres stores about 12,000 per second,
#: and a statement may take five seconds.
MAX_CHILDREN_IN_STATEMENT = 2_000


class Row(msgspec.Struct, omit_defaults=True):
    """Values for the SQL statement RECORD. Its parameters have the same names as these fields.

    A handover encodes rows into an environment variable of at most 128 KiB. Without the fields that
    have their default values, the row of an interrupted task takes 320 bytes of it.
    """

    id: UUID
    claim: int
    status: str
    released: bool
    attempt: int
    failures: int
    interruptions: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    execution_s: float | None = None
    wait_s: float | None = None
    progress_current: int | None = None
    progress_total: int | None = None
    progress_message: str | None = None
    result: str | None = None
    key_id: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    error_traceback: str | None = None
    error_fingerprint: str | None = None
    wait_reason: str | None = None
    trace_context: str | None = None


#: The attempts that RECORD has written, each with the row that the statement returned.
Written = dict[Attempt, dict[str, Any]]


class LogLine(msgspec.Struct, frozen=True):
    """Values for the SQL statement LOG. Its parameters have the same names as these fields."""

    task_id: UUID
    claim: int
    ordinal: int
    logged_at: datetime
    level: str
    message: str


class Child(msgspec.Struct, frozen=True):
    """A child task that a task body submits. Its parameters are checked, encoded and, if sensitive,
    encrypted.
    """

    id: UUID
    contract: Contract[Any, Any]
    params: Stored
    priority: int
    delay: timedelta | None
    owner: int | None
    parent: UUID
    #: Key that is unique among the children of one parent. None for a child task that is stored
    #: together with its parent's success.
    key: str | None
    trace_context: str | None = None


def columns(records: Sequence[msgspec.Struct]) -> dict[str, list[Any]]:
    """Convert records to lists of values, one list for each field. Needs at least one record."""
    values = zip(*map(msgspec.structs.astuple, records), strict=True)
    return dict(zip(records[0].__struct_fields__, map(list, values), strict=True))


def child_columns(children: Sequence[Child]) -> dict[str, list[Any]]:
    """Build the parameters of the SQL statement SUBMIT_CHILDREN. Needs at least one child task."""
    rows = [
        {
            "id": child.id,
            "name": child.contract.name,
            "type": child.contract.type,
            "version": child.contract.version,
            "queue": child.contract.queue,
            "priority": child.priority,
            "params": child.params.text,
            "key_id": child.params.key_id,
            "max_attempts": child.contract.retries.max_attempts,
            "delay_s": _seconds(child.delay),
            "max_wait_s": _seconds(child.contract.max_wait),
            "owner": child.owner,
            "parent": child.parent,
            "trace_context": child.trace_context,
        }
        for child in children
    ]
    return {name: sparse([row[name] for row in rows]) for name in rows[0]}


def batched(children: Sequence[T], size: int = MAX_CHILDREN_IN_STATEMENT) -> Iterator[list[T]]:
    """Split a sequence into batches.

    Storing a batch of the default size takes only a fraction of the statement's time limit.
    """
    for first in range(0, len(children), size):
        yield list(children[first : first + size])


class Entry(msgspec.Struct):
    """Everything that one attempt has produced since its last record was written."""

    attempt: Attempt
    row: Row | None = None
    outcome: Outcome | None = None
    logs: list[LogLine] = msgspec.field(default_factory=list)
    #: Child tasks that are stored immediately, whatever the outcome of the attempt.
    spawned: list[Child] = msgspec.field(default_factory=list)
    noted_monotonic: float = msgspec.field(default_factory=time.monotonic)
    #: True if the record was reduced because Postgres refused it. It then contains nothing from the
    #: task body any more.
    bare: bool = False

    @property
    def released(self) -> bool:
        """True if this record ends the claim."""
        return self.row is not None and self.row.released

    @property
    def ready_children(self) -> list[Child]:
        """Child tasks that are stored together with their parent's success; empty without a
        success.
        """
        succeeded = self.outcome is not None and self.outcome.status is Status.SUCCESS
        return self.attempt.children if succeeded else []

    @property
    def children(self) -> int:
        """Number of child tasks that are stored together with this record."""
        return len(self.spawned) + len(self.ready_children)

    def note_start(self) -> Row:
        """Set the row's values for a task whose body is running, and return the row."""
        attempt = self.attempt
        if self.row is None:
            self.row = Row(
                attempt.claim.id,
                attempt.claim.number,
                Status.STARTED,
                False,
                attempt.number,
                attempt.claim.failures,
                started_at=attempt.started_at,
                trace_context=attempt.trace_context,
            )
        return self.row

    def note_progress(self, current: int, total: int | None, message: str | None) -> None:
        """Set the progress. It replaces progress that was noted but not written yet."""
        row = self.note_start()
        row.progress_current = current
        row.progress_total = total or row.progress_total
        row.progress_message = message or row.progress_message

    def note_end(self, outcome: Outcome, ended_at: datetime, execution_s: float | None) -> None:
        """Set the outcome that ends the claim, whether or not the task body ran."""
        attempt = self.attempt
        row = self.row or Row(
            attempt.claim.id, attempt.claim.number, outcome.status, True, attempt.number, outcome.failures
        )
        row.status = outcome.status
        row.released = True
        row.failures = outcome.failures
        row.interruptions = outcome.interruptions
        row.started_at = attempt.started_at
        row.ended_at = ended_at
        row.execution_s = execution_s
        row.wait_s = outcome.wait_s
        row.wait_reason = outcome.wait_reason
        row.trace_context = attempt.trace_context
        if outcome.result is not None:
            row.result, row.key_id = outcome.result
        if outcome.failure is not None:
            row.error_kind = outcome.failure.kind
            row.error_message = outcome.failure.message
            row.error_traceback = outcome.failure.traceback
            row.error_fingerprint = outcome.failure.cause.fingerprint if outcome.failure.cause else None
        self.row, self.outcome = row, outcome


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
