"""Tasks as they are submitted and as they are read."""

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
    run_at: Annotated[datetime, Meta(tz=True, description="Start then; not together with delay_s")] | None = (
        None
    )
    expires_at: Annotated[datetime, Meta(tz=True, description="Not worth starting from then on")] | None = (
        None
    )


Priority = Annotated[int, Meta(ge=LOWEST_PRIORITY, le=HIGHEST_PRIORITY, description="9 is served first")]
NewParams = Annotated[
    dict[str, Any],
    Meta(description="All parameters. A sensitive field that is sent as `[hidden]` stays as it is"),
]
Queue = Annotated[str, Meta(max_length=100, description="A queue of GET /api/v1/queues")]


class TaskRetryBody(Body):
    """What is left out stays as it is."""

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
    """What is left out stays as it is."""

    priority: Priority | None = None
    send_at: (
        Annotated[datetime, Meta(tz=True, description="Start then; a time that has passed is now")] | None
    ) = None
    params: NewParams | None = None
    queue: Queue | None = None
    reason: Reason | None = None


class TaskChanged(Answer):
    task_id: UUID
    status: str
    queue: str
    priority: int
    #: Earliest time at which the task starts.
    scheduled_for: datetime


class BatchBody(Body):
    tasks: Annotated[
        list[Any],
        Meta(
            min_length=1,
            max_length=10_000,
            description="Each as POST /api/v1/tasks takes it; every bad one is named by its index",
        ),
    ]


class BatchSubmitted(Answer):
    #: In the order of the request.
    task_ids: list[UUID]
    status: str
    message: str


class Submitted(Answer):
    task_id: UUID
    status: str
    message: str


class RetriesAnswer(Answer):
    """Waits `delay_s * factor^(failures - 1)` seconds, at most `cap_s`, give or take the share `jitter`."""

    max_attempts: int
    delay_s: float
    factor: float
    cap_s: float
    jitter: float


class ContractAnswer(Answer, kw_only=True):
    name: str
    queue: str
    #: Goes up when older workers cannot read the parameters.
    version: int
    #: Used when a submission names none; 9 is served first.
    priority: int
    #: True: only operators and administrators may submit it.
    staff_only: bool
    #: True: a submission needs an Idempotency-Key.
    needs_key: bool
    #: The daily quota that a submission takes one of; null: none. See GET /auth/me/quotas.
    quota: str | None
    #: The parameter that holds the id of the account that the task is for.
    recipient: str | None
    retries: RetriesAnswer
    #: An attempt that runs longer is interrupted and counts as failed.
    time_limit_s: float
    #: A task that waits longer than this for its start is not run at all; null: it always runs.
    max_wait_s: float | None
    #: JSON Schema; `x-sensitive` marks fields that are encrypted and masked for other readers.
    params: dict[str, Any]
    result: dict[str, Any]


class CatalogueAnswer(Answer):
    tasks: list[ContractAnswer]


class TaskAnswer(Answer):
    id: UUID
    #: The same as `id`.
    task_id: UUID
    task_name: str
    #: Category, the area of the name.
    task_type: str
    status: str
    queue: str
    priority: int
    owner: int | None
    params: dict[str, Any]
    result: Any
    progress_current: int
    progress_total: int
    #: 0 to 100.
    progress_percentage: int
    progress_message: str | None
    attempt: int
    max_attempts: int
    failures: int
    crashes: int
    interruptions: int
    error_kind: str | None
    error_message: str | None
    #: Shown to administrators and operators only; null in lists.
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
    #: Goes up with each visible change.
    revision: int
    #: The workflow that it belongs to, the step, and its number in a group; null for other tasks.
    workflow: UUID | None
    step: str | None
    member: int | None


class TaskPage(Answer):
    items: list[TaskAnswer]
    #: Give it as `cursor` to get the next page, or to search on; null when there is no more.
    next_cursor: str | None
    #: False: the time ran out. Tasks that were created before `searched_until` were not looked at.
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
    #: Null while it runs.
    ended_at: datetime | None
    #: success, failure, revoked, retry, interrupted or crashed; null while it runs.
    outcome: str | None
    execution_time_seconds: float | None
    error_kind: str | None
    error_message: str | None
    #: For administrators and operators only.
    error_traceback: str | None
    error_fingerprint: str | None
    logs: list[LogLine]


class TaskLogs(Answer):
    task_id: UUID
    #: Lines of this level or above, shown or not.
    total_logs: int
    logs: list[LogLine]
    task_status: str
    task_finished: bool
