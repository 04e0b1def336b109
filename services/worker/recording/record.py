"""One task's row of a recorder round: what its attempt has brought since the last round."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from services.worker.claims.holdings import Holding
from services.worker.running.outcome import Outcome
from shared.contracts.contract import Contract
from shared.ledger.lifecycle import Status
from shared.vault import Stored


class Row(msgspec.Struct):
    """The values of `statements.RECORD`, in the order of its placeholders."""

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


class LogLine(msgspec.Struct, frozen=True):
    """The values of `statements.LOG`, in the order of its placeholders."""

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


def columns(records: Sequence[msgspec.Struct]) -> list[list[Any]]:
    """The values of each field, in the order of the fields; at least one record."""
    return [list(column) for column in zip(*map(msgspec.structs.astuple, records), strict=True)]


def child_columns(children: list[Child]) -> list[list[Any]]:
    """The values of `statements.SUBMIT_CHILDREN`."""
    rows = [
        (
            c.id,
            c.contract.name,
            c.contract.type,
            c.contract.version,
            c.contract.queue,
            c.priority,
            *c.params,
            c.contract.retries.max_attempts,
            c.delay.total_seconds() if c.delay is not None else None,
            c.owner,
            c.parent,
        )
        for c in children
    ]
    return [list(column) for column in zip(*rows, strict=True)]


class Entry(msgspec.Struct):
    """What one task has to be written in one round."""

    holding: Holding
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
        return self.row is not None and self.row.released

    def note_start(self) -> Row:
        """The row as it is while the body runs."""
        holding = self.holding
        if self.row is None:
            self.row = Row(
                holding.id,
                holding.claim,
                Status.STARTED,
                False,
                holding.attempt,
                holding.failures,
                started_at=holding.started_at,
            )
        return self.row

    def note_progress(self, current: int, total: int | None, message: str | None) -> None:
        row = self.note_start()
        row.progress_current = current
        row.progress_total = total or row.progress_total
        row.progress_message = message or row.progress_message

    def note_end(self, outcome: Outcome, ended_at: datetime, execution_s: float | None) -> None:
        holding = self.holding
        row = self.row or Row(
            holding.id, holding.claim, outcome.status, True, holding.attempt, outcome.failures
        )
        row.status = outcome.status
        row.released = True
        row.failures = outcome.failures
        row.interruptions = outcome.interruptions
        row.started_at = holding.started_at
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
