"""A task that this worker has claimed: the contents of its row, and the state of its attempt."""

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
from shared.telemetry.tracing import Span


class Stage(Enum):
    """State of a claim within this worker process."""

    #: The attempt waits in the heap of waiting attempts until a thread takes it.
    WAITING = 1
    RUNNING = 2
    #: The attempt is over: its outcome was passed to the recorder, or the claim is being given
    #: back.
    ENDED = 3


class Claim(msgspec.Struct, frozen=True, gc=False):
    """The contents of a task's row at the time when the task was claimed."""

    id: UUID
    #: Number of the claim, which goes up each time the task is claimed. Every write of this claim
    #: checks the number, so that a write under an outdated claim has no effect.
    number: int
    name: str
    contract_version: int
    queue: str
    priority: int
    status: str
    params: str
    #: Number of starts before this claim (`attempt`), and how many attempts have failed
    #: (`failures`).
    attempt: int
    failures: int
    max_attempts: int
    #: Number of starts that were interrupted, for example by a shutdown. They do not count toward
    #: any limit.
    interruptions: int
    suspect: bool
    owner: int | None
    #: Time at which the task became ready to run, for the first time since its last attempt.
    ready_at: datetime
    claimed_at: datetime
    cancel_requested_at: datetime | None
    expired: bool
    #: The workflow to which the task belongs, its step, and its position if the step is a group.
    workflow: UUID | None = None
    step: str | None = None
    member: int | None = None
    #: Description, as JSON, of the parameters that are read from other workflow steps. See
    #: `services.worker.workflows.inputs`.
    inputs: str | None = None
    #: Trace context of the task; null if it is not traced. See `shared.telemetry.tracing`.
    trace_context: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Build a claim from a result row of the statement CLAIM."""
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
            trace_context=row["trace_context"],
        )


class Attempt(msgspec.Struct, eq=False):
    """The state of one claimed task in this process.

    Its fields are changed by the thread that runs the task, with two exceptions: `Claims.cancel`
    changes those of a cancellation, and `slot` guards those of an interrupt.
    """

    claim: Claim
    claimed_monotonic: float = msgspec.field(default_factory=time.monotonic)
    stage: Stage = Stage.WAITING
    #: Number of this attempt: how often the task was started, including this start once it has
    #: happened.
    number: int = 0
    started_at: datetime | None = None
    started_monotonic: float = 0.0
    #: The context object that is passed to the task body and the hooks.
    context: TaskContext | None = None
    returned: Any = None
    #: The exception that the task body raised. It is dropped once the outcome is decided.
    error: BaseException | None = None
    outcome: Outcome | None = None
    #: The tracing span of the attempt; None if it is not traced.
    span: Span | None = None
    #: The trace context to be written to the task's row with the next record.
    trace_context: str | None = None
    children: list[Any] = msgspec.field(default_factory=list)
    #: Values of the task's sensitive parameters. They must not appear in any log line or record.
    secrets: Sequence[str] = ()
    #: Time of the cancel request; None if this process does not know of one.
    cancel_requested_at: datetime | None = None
    cancel_requested: bool = False
    #: Monotonic time at which this process learned of the cancel request.
    cancelled_monotonic: float | None = None
    #: Monotonic time at which the task body or its hook was interrupted.
    interrupted_monotonic: float | None = None
    #: Monotonic time at which the hook began that follows the task body.
    hook_monotonic: float | None = None
    #: The error to be recorded if the task body is interrupted. If it is None, the interrupt does
    #: not count as a failure.
    fault: OftenError | None = None
    #: Memory use of the process in bytes just before the task body started.
    memory_before: int | None = None
    #: The reason why Postgres refused a part of the attempt's record. If set, the task fails,
    #: whatever its body returns.
    refused: str | None = None
    #: Held while the task body is being interrupted, and while it ends. This prevents an interrupt
    #: from reaching the next task of the same thread.
    slot: threading.Lock = msgspec.field(default_factory=threading.Lock)
    thread: int | None = None
    #: True if an interrupt exception was set in the thread and may not have been raised yet.
    interrupt_pending: bool = False

    @classmethod
    def of(cls, claim: Claim) -> Self:
        """Create the attempt for a claim. It waits until a thread takes it."""
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

    @property
    def fields(self) -> dict[str, object]:
        """The fields that identify the attempt in a log line."""
        return {
            "task": self.name,
            "task_id": str(self.id),
            "queue": self.queue,
            "attempt": self.number,
            "claim": self.claim.number,
        }

    def __str__(self) -> str:
        return f"{self.claim.name} {self.claim.id} claim {self.claim.number}"

    #: The short form keeps parameters, secrets and results out of logs
    __repr__ = __str__
