"""Schemas of the request bodies and responses of the task routes."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body, Reason
from services.api.workflows.schemas import HandlersThatRan
from shared.contracts.contract import HIGHEST_PRIORITY, LOWEST_PRIORITY
from shared.errors import MAX_DELAY


class NewTaskBody(Body):
    name: Annotated[str, Meta(max_length=100, description="Name of a task, `area.verb_object`")]
    params: dict[str, Any]
    priority: (
        Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="9 is served first")] | None
    ) = None
    delay_s: (
        Annotated[
            float,
            Meta(ge=0, le=MAX_DELAY.total_seconds(), description="Start this many seconds from now"),
        ]
        | None
    ) = None
    run_at: (
        Annotated[datetime, Meta(tz=True, description="Start at this time; not together with delay_s")] | None
    ) = None
    expires_at: (
        Annotated[datetime, Meta(tz=True, description="The task fails if it has not started by then")] | None
    ) = None


Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="9 is served first")]
NewParams = Annotated[
    dict[str, Any],
    Meta(description="All parameters. A sensitive field that is sent as `[hidden]` stays as it is"),
]
Queue = Annotated[str, Meta(max_length=100, description="Name of a queue, as listed by GET /api/v1/queues")]


class TaskRetryBody(Body):
    """A request to retry a task. Fields that are left out stay unchanged."""

    params: NewParams | None = None
    queue: Queue | None = None
    priority: Priority | None = None
    delay_s: (
        Annotated[
            float,
            Meta(ge=0, le=MAX_DELAY.total_seconds(), description="Start this many seconds from now"),
        ]
        | None
    ) = None
    handlers: HandlersThatRan | None = None
    reason: Reason | None = None


class TaskChange(Body):
    """A request to change a waiting task. Fields that are left out stay unchanged."""

    priority: Priority | None = None
    send_at: (
        Annotated[datetime, Meta(tz=True, description="Start at this time; a time in the past means now")]
        | None
    ) = None
    params: NewParams | None = None
    queue: Queue | None = None
    reason: Reason | None = None


class TaskChanged(Answer):
    task_id: UUID
    status: str
    queue: str
    priority: int
    #: Earliest time at which the task may start.
    scheduled_for: datetime


class RunNowBody(Body):
    past_pause: Annotated[
        bool, Meta(description="Start this task even if its queue is paused; all others keep waiting")
    ] = False
    reason: Reason | None = None


class BatchBody(Body):
    tasks: Annotated[
        list[Any],
        Meta(
            min_length=1,
            max_length=10_000,
            description="Tasks in the form of POST /api/v1/tasks; errors name every invalid one by its index",
        ),
    ]


class BatchSubmitted(Answer):
    #: Ids of the new tasks, in the order in which the request lists the tasks.
    task_ids: list[UUID]
    status: str
    message: str


class Submitted(Answer):
    task_id: UUID
    status: str
    message: str


class RetriesAnswer(Answer):
    """How a failed task is retried.

    The delay before the next attempt is `delay_s * factor^(failures - 1)` seconds, at most `cap_s`.
    It is varied at random by up to the fraction `jitter`.
    """

    max_attempts: int
    delay_s: float
    factor: float
    cap_s: float
    jitter: float


class ContractAnswer(Answer, kw_only=True):
    name: str
    queue: str
    #: Version of the task's contract. It increases when the parameters change in a way that workers
    #: of an older release cannot read.
    version: int
    #: Priority of a submission that does not give one, from 0 to 9. Tasks with priority 9 are
    #: served first.
    priority: int
    #: True if only operators and administrators may submit this kind of task.
    staff_only: bool
    #: True if a submission must have an Idempotency-Key header.
    needs_key: bool
    #: Name of the daily quota of which each submission uses one unit; null if there is none. GET
    #: /auth/me/quotas shows the quotas.
    quota: str | None
    #: Name of the parameter that contains the id of the account for which the task runs; null if
    #: there is none.
    recipient: str | None
    retries: RetriesAnswer
    #: Time limit of an attempt in seconds. An attempt that runs longer is interrupted and counts as
    #: failed.
    time_limit_s: float
    #: Maximum time in seconds that a task may wait before it starts; after that, it fails. Null if
    #: it may wait forever.
    max_wait_s: float | None
    #: JSON Schema of the parameters. `x-sensitive` marks fields that are stored encrypted and
    #: masked for other readers.
    params: dict[str, Any]
    result: dict[str, Any]


class CatalogueAnswer(Answer):
    tasks: list[ContractAnswer]


class TaskAnswer(Answer):
    id: UUID
    #: Id of the task, the same as `id`.
    task_id: UUID
    task_name: str
    #: Category of the task, which is the first part of its name.
    task_type: str
    status: str
    queue: str
    priority: int
    owner: int | None
    params: dict[str, Any]
    result: Any
    progress_current: int
    progress_total: int
    #: Progress in percent, 0 to 100.
    progress_percentage: int
    progress_message: str | None
    attempt: int
    max_attempts: int
    failures: int
    crashes: int
    interruptions: int
    error_kind: str | None
    error_message: str | None
    #: Traceback of the last error. It is shown only to administrators and operators, and is null in
    #: lists.
    error_traceback: str | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    execution_time_seconds: float | None
    scheduled_for: datetime | None
    expires_at: datetime | None
    worker: UUID | None
    wait_reason: str | None
    cancel_requested_at: datetime | None
    #: Number that increases with each visible change of the task.
    revision: int
    #: The workflow to which the task belongs, its step, and its position if the step is a group.
    #: All are null for a task outside a workflow; the position is null for a step of one task.
    workflow: UUID | None
    step: str | None
    member: int | None


class WaitCause(Answer):
    #: Why the task waits: "delayed", "paused", "unserved" (no worker serves the queue) or "noted"
    #: (for the reason stored in the task's `wait_reason`).
    kind: str
    message: str


class TaskPlace(Answer):
    task_id: UUID
    status: str
    queue: str
    #: Number of tasks in the queue that are served before this one. Null if the task does not wait
    #: or is delayed.
    before: int | None
    #: True if `before` is the exact number; false if it is a lower bound.
    before_is_exact: bool
    #: Rate at which attempts of this queue ended over the last five minutes, per second. It is an
    #: estimate of the rate at which tasks start.
    starts_per_s: float
    #: Estimated time at which the task starts; null if it cannot be estimated.
    predicted_start: datetime | None
    #: The reasons why the task waits, other than the tasks ahead of it.
    causes: list[WaitCause]


class TaskPage(Answer):
    items: list[TaskAnswer]
    #: Value to send as `cursor` to get the next page or to continue the search; null when there are
    #: no more tasks.
    next_cursor: str | None
    #: False if the search reached its time limit. Tasks created before `searched_until` were then
    #: not searched.
    complete: bool = True
    searched_until: datetime | None = None


class TaskResult(Answer):
    task_id: UUID
    status: str
    result: Any
    error_kind: str | None
    error_message: str | None


class LogLine(Answer):
    logged_at: datetime
    level: str
    message: str


class AttemptAnswer(Answer):
    attempt: int
    claim: int
    worker: UUID | None
    started_at: datetime | None
    #: Time at which the attempt ended; null while it is running.
    ended_at: datetime | None
    #: How the attempt ended: success, failure, revoked, retry, interrupted or crashed. Null while
    #: it is running.
    outcome: str | None
    execution_time_seconds: float | None
    error_kind: str | None
    error_message: str | None
    #: Traceback of the attempt's error, shown only to administrators and operators.
    error_traceback: str | None
    error_fingerprint: str | None
    logs: list[LogLine]


class TaskLogs(Answer):
    task_id: UUID
    #: Number of the task's log lines at the requested level or above, including lines that are not
    #: returned.
    total_logs: int
    logs: list[LogLine]
    task_status: str
    task_finished: bool
