"""Answers about tasks: their states, results, attempts, log lines and stacks."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct

from often_client.answers.page import Page

#: Statuses of tasks and workflows that have ended.
FINAL = frozenset({"success", "failure", "revoked"})


class Task(Struct, kw_only=True):
    id: UUID
    task_name: str
    task_type: str
    status: str
    queue: str
    priority: int
    owner: int | None
    params: dict[str, Any]
    result: Any
    progress_current: int
    progress_total: int
    progress_percentage: int
    progress_message: str | None
    attempt: int
    max_attempts: int
    failures: int
    crashes: int
    interruptions: int
    error_kind: str | None
    error_message: str | None
    #: Traceback of the task's last error. Shown only to operators and administrators; None in
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
    #: Version number of the task's row. It goes up with each change that a client can see.
    revision: int
    workflow: UUID | None
    step: str | None
    member: int | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class TaskPage(Page[Task]):
    #: Whether the page covers everything that the search should have covered. False if the search
    #: ran out of time: tasks created before `searched_until` are on later pages.
    complete: bool = True
    searched_until: datetime | None = None


class TaskResult(Struct):
    task_id: UUID
    status: str
    result: Any
    error_kind: str | None
    error_message: str | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL


class TaskChanged(Struct):
    task_id: UUID
    status: str
    queue: str
    priority: int
    scheduled_for: datetime


class WaitCause(Struct):
    #: Kind of the reason to wait: delayed, paused, unserved (no worker serves the queue), or noted (a
    #: reason that is stored with the task).
    kind: str
    message: str


class TaskPlace(Struct, kw_only=True):
    """Where a waiting task is in its queue, and when it may start."""

    task_id: UUID
    status: str
    queue: str
    #: Number of tasks that are served before this one; None if the task is not in line, for example
    #: because it is delayed.
    before: int | None
    #: Whether `before` is exact; False if more tasks may be ahead.
    before_is_exact: bool
    #: Number of attempts in this queue that ended per second, averaged over the last five minutes.
    starts_per_s: float
    #: Estimated time at which the task starts; None if nothing allows an estimate.
    predicted_start: datetime | None
    #: Reasons why the task waits, other than the tasks before it.
    causes: list[WaitCause]


class LogLine(Struct):
    logged_at: datetime
    level: str
    message: str


class TaskLogs(Struct):
    task_id: UUID
    #: Number of stored log lines of the requested level and above. `logs` may contain fewer.
    total_logs: int
    logs: list[LogLine]
    task_status: str
    task_finished: bool


class Attempt(Struct, kw_only=True):
    attempt: int
    claim: int
    worker: UUID | None
    started_at: datetime | None
    #: Time at which the attempt ended; None while it runs.
    ended_at: datetime | None
    #: Outcome of the attempt: success, failure, revoked, retry, interrupted or crashed; None while
    #: it runs.
    outcome: str | None
    execution_time_seconds: float | None
    error_kind: str | None
    error_message: str | None
    #: Traceback of the error that ended the attempt. Shown only to operators and administrators.
    error_traceback: str | None
    error_fingerprint: str | None
    logs: list[LogLine]


class Frame(Struct):
    file: str
    line: int
    function: str
    code: str


class Stack(Struct):
    #: Name of the thread, or of the asyncio task, whose stack this is.
    name: str
    #: Frames of the stack, the outermost call first.
    frames: list[Frame]


class TaskStacks(Struct):
    task_id: UUID
    worker_id: UUID
    stacks: list[Stack]


class TaskState(Struct, kw_only=True):
    """The state of a task in an event stream: the fields that change while it runs.

    Of two states of the same task, the one with the higher revision is newer.
    """

    task_id: UUID
    revision: int
    status: str
    task_name: str
    queue: str
    owner: int | None
    progress_current: int
    progress_total: int
    progress_percentage: int
    progress_message: str | None
    workflow: UUID | None
    step: str | None

    @property
    def is_final(self) -> bool:
        return self.status in FINAL
