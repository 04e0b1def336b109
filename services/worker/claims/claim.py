"""One claimed task: what its row said, and what becomes of the attempt in this process."""

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any, Self
from uuid import UUID

import msgspec

from services.worker.running.outcome import Outcome
from shared.contracts.context import TaskContext
from shared.errors import OftenError


class Stage(Enum):
    """How far a claim has come in this process."""

    #: In the heap; no thread has it.
    WAITING = 1
    RUNNING = 2
    #: The recorder has its outcome, or knows that the claim is given back.
    ENDED = 3


class Claim(msgspec.Struct, frozen=True, gc=False):
    """What the row of a task said when it was claimed."""

    id: UUID
    #: The fence: every write of this claim carries it.
    number: int
    name: str
    contract_version: int
    queue: str
    priority: int
    status: str
    params: str
    #: Starts and failed attempts before this claim.
    attempt: int
    failures: int
    max_attempts: int
    #: Starts that were cut short, and count against nothing.
    interruptions: int
    suspect: bool
    owner: int | None
    #: The earliest moment at which it could have run since its last attempt.
    ready_at: datetime
    claimed_at: datetime
    cancel_requested_at: datetime | None
    expired: bool
    #: The workflow that it belongs to, the step, and its number in a group.
    workflow: UUID | None = None
    step: str | None = None
    member: int | None = None
    #: Parameters that are read from other steps, as JSON; see `services.worker.workflows.inputs`.
    inputs: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A row as CLAIM returns it."""
        return cls(
            id=UUID(int=row["id"].int),
            number=row["claim"],
            name=row["name"],
            contract_version=row["contract_version"],
            queue=row["queue"],
            priority=row["priority"],
            status=row["status"],
            params=row["params"],
            attempt=row["attempt"],
            failures=row["failures"],
            max_attempts=row["max_attempts"],
            interruptions=row["interruptions"],
            suspect=row["suspect"],
            owner=row["owner"],
            ready_at=row["ready_at"],
            claimed_at=row["claimed_at"],
            cancel_requested_at=row["cancel_requested_at"],
            expired=bool(row["expired"]),
            workflow=row["workflow"] and UUID(int=row["workflow"].int),
            step=row["step"],
            member=row["member"],
            inputs=row["inputs"],
        )


class Attempt(msgspec.Struct, eq=False):
    """What one claim comes to in this process.

    The task's thread changes it, except for the fields of a cancellation, which belong to `Claims.cancel`,
    and those of an interrupt, which are guarded by `slot`.
    """

    claim: Claim
    claimed_monotonic: float = msgspec.field(default_factory=time.monotonic)
    stage: Stage = Stage.WAITING
    #: Starts so far, this one included once it has begun.
    number: int = 0
    started_at: datetime | None = None
    started_monotonic: float = 0.0
    #: The context that the body was given; hooks get it too.
    context: TaskContext | None = None
    returned: Any = None
    #: The body raised this. It is dropped once the outcome is decided.
    error: BaseException | None = None
    outcome: Outcome | None = None
    children: list[Any] = msgspec.field(default_factory=list)
    #: Values of the sensitive parameters, which no log line and no record may contain.
    secrets: Sequence[str] = ()
    #: The moment of the cancel request, if this process knows it.
    cancel_requested_at: datetime | None = None
    cancel_requested: bool = False
    #: The moment at which this process heard of the request.
    cancelled_monotonic: float | None = None
    #: The moment at which the body was interrupted.
    interrupted_monotonic: float | None = None
    #: The error with which it has failed if it is interrupted; without one an interrupt is no failure.
    fault: OftenError | None = None
    #: Size of the process in bytes just before it began.
    memory_before: int | None = None
    #: Why Postgres refused a part of its record. The task then fails, whatever its body returns.
    refused: str | None = None
    #: Held while the body is interrupted and while it ends, so that no exception hits the thread's next task.
    slot: threading.Lock = msgspec.field(default_factory=threading.Lock)
    thread: int | None = None
    #: An exception was set in the thread and may not have been raised yet.
    interrupt_pending: bool = False

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """An attempt that waits for a thread."""
        return cls(
            claim,
            number=claim.attempt,
            cancel_requested=claim.cancel_requested_at is not None,
            cancel_requested_at=claim.cancel_requested_at,
        )

    @property
    def id(self) -> UUID:
        return self.claim.id

    @property
    def name(self) -> str:
        return self.claim.name

    @property
    def queue(self) -> str:
        return self.claim.queue

    def __str__(self) -> str:
        return f"{self.claim.name} {self.claim.id} claim {self.claim.number}"

    #: Shows no parameters, secrets or result.
    __repr__ = __str__
