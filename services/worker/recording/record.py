"""What is to be written about one attempt in one round of the recorder."""

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
from shared.vault import Stored

T = TypeVar("T")

#: Postgres stores about 12,000 children in a second, and a statement may take five.
MAX_CHILDREN_IN_STATEMENT = 2_000


class Row(msgspec.Struct):
    """The columns that RECORD takes, under their names there."""

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


#: The attempts whose rows took what was written, with what RECORD returns of each.
Written = dict[Attempt, dict[str, Any]]


class LogLine(msgspec.Struct, frozen=True):
    """The columns that LOG takes, under their names there."""

    task_id: UUID
    claim: int
    ordinal: int
    logged_at: datetime
    level: str
    message: str


class Child(msgspec.Struct, frozen=True):
    """A task that a task submits; its parameters are checked, encoded and sealed already."""

    id: UUID
    contract: Contract[Any, Any]
    params: Stored
    priority: int
    delay: timedelta | None
    owner: int | None
    parent: UUID
    #: Unique under the parent; None when it is stored with the parent's success.
    key: str | None


def columns(records: Sequence[msgspec.Struct]) -> dict[str, list[Any]]:
    """The values of each field by its name; at least one record."""
    values = zip(*map(msgspec.structs.astuple, records), strict=True)
    return dict(zip(records[0].__struct_fields__, map(list, values), strict=True))


def child_columns(children: Sequence[Child]) -> dict[str, list[Any]]:
    """The columns that SUBMIT_CHILDREN takes; at least one child."""
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
        }
        for child in children
    ]
    return {name: [row[name] for row in rows] for name in rows[0]}


def batched(children: Sequence[T], size: int = MAX_CHILDREN_IN_STATEMENT) -> Iterator[list[T]]:
    """Shares of at most this size, by default one that a statement stores in a fraction of its time limit."""
    for first in range(0, len(children), size):
        yield list(children[first : first + size])


class Entry(msgspec.Struct):
    """Everything that one attempt has brought since the last round."""

    attempt: Attempt
    row: Row | None = None
    outcome: Outcome | None = None
    logs: list[LogLine] = msgspec.field(default_factory=list)
    #: Children stored at once, whatever becomes of the attempt.
    spawned: list[Child] = msgspec.field(default_factory=list)
    noted_monotonic: float = msgspec.field(default_factory=time.monotonic)
    #: Nothing in it comes from the task's body any more: Postgres refused what did.
    bare: bool = False

    @property
    def released(self) -> bool:
        """The claim ends with this record."""
        return self.row is not None and self.row.released

    @property
    def ready_children(self) -> list[Child]:
        """Children that are stored together with their parent's success."""
        succeeded = self.outcome is not None and self.outcome.status is Status.SUCCESS
        return self.attempt.children if succeeded else []

    @property
    def children(self) -> int:
        """How many children are stored with this record."""
        return len(self.spawned) + len(self.ready_children)

    def note_start(self) -> Row:
        """The row as it is while the body runs."""
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
            )
        return self.row

    def note_progress(self, current: int, total: int | None, message: str | None) -> None:
        """The latest progress replaces an earlier one of the same round."""
        row = self.note_start()
        row.progress_current = current
        row.progress_total = total or row.progress_total
        row.progress_message = message or row.progress_message

    def note_end(self, outcome: Outcome, ended_at: datetime, execution_s: float | None) -> None:
        """The claim ends, with or without an attempt."""
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
        if outcome.result is not None:
            row.result, row.key_id = outcome.result
        if outcome.failure is not None:
            row.error_kind = outcome.failure.kind
            row.error_message = outcome.failure.message
            row.error_traceback = outcome.failure.traceback
            row.error_fingerprint = outcome.failure.fingerprint
        self.row, self.outcome = row, outcome


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()
