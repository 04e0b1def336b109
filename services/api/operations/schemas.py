"""Queues and workers as operators see and change them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body, Reason


class PauseBody(Body):
    reason: Reason


class Pause(Answer):
    since: datetime
    #: Id of the account; null once it was erased.
    by: int | None
    reason: str | None


class QueueAnswer(Answer, kw_only=True):
    queue: str
    #: Tasks that could run now.
    waiting: int
    #: The same by lane: the priorities from 9 to 0, and `rescued` for tasks whose worker died. Ids of tasks
    #: that were canceled count until a worker fetches them.
    depth: dict[str, int]
    #: How long the task that could run first has waited.
    oldest_age_s: float
    #: Delayed tasks and retries, among the 10,000 of all queues that are due next.
    due_later: int
    #: Null: it is not paused.
    paused: Pause | None
    #: False: it cannot be paused.
    may_pause: bool
    #: Living workers that serve it.
    workers: int


class QueueList(Answer):
    items: list[QueueAnswer]


class QueuePaused(Answer):
    queue: str
    paused: Pause
    #: Waiting tasks of the queue that have a deadline, among the 10,000 of all queues that expire next. They
    #: fail if the pause lasts until then.
    expiring: int
    #: Time at which the first of these tasks expires.
    first_expires_at: datetime | None
    message: str


class QueueResumed(Answer):
    queue: str
    #: The pause that has ended; null: it was not paused.
    paused: Pause | None
    message: str


class PurgeBody(Body):
    confirm: Annotated[str, Meta(max_length=100, description="The name of the queue once more")]
    reason: Reason | None = None


class QueuePurged(Answer):
    queue: str
    #: Waiting tasks that will not run.
    canceled: int
    #: True: more tasks wait. Send the request again.
    more: bool


class ReasonBody(Body):
    reason: Reason | None = None


class RunNowBody(Body):
    past_pause: Annotated[
        bool, Meta(description="Also if its queue is paused: this task starts, and the others wait on")
    ] = False
    reason: Reason | None = None


class RunningTask(Answer, kw_only=True):
    """A body that a worker runs."""

    task_id: UUID
    task_name: str
    queue: str
    attempt: int
    started_at: datetime
    running_s: float
    progress_current: int
    progress_total: int
    progress_message: str | None


class WorkerAnswer(Answer, kw_only=True):
    id: UUID
    hostname: str
    pid: int
    #: Version of its code; null for one that does not say.
    release: str | None
    #: running, quiet, draining, stopped (it ended by itself) or dead (it was declared so).
    state: str
    #: The operator's request: quiet, drain or recycle.
    asked: str | None
    queues: list[str]
    threads: int
    threads_busy: int
    #: Claims whose outcome is not written yet, the running ones included.
    held: int
    #: Resident size of its process at the last heartbeat.
    memory_bytes: int | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    running: list[RunningTask]


class WorkerPage(Answer):
    items: list[WorkerAnswer]
    #: Give it as `cursor` to get the next page; null on the last one.
    next_cursor: str | None


class WorkerAsked(Answer):
    worker_id: UUID
    asked: str
    message: str


class FrameAnswer(Answer):
    file: str
    line: int
    function: str
    #: The text of the line.
    code: str


class StackAnswer(Answer):
    #: The body's thread, or an asyncio task of it.
    name: str
    #: The outermost first; the last one is being executed, or awaits something.
    frames: list[FrameAnswer]


class TaskStacks(Answer):
    task_id: UUID
    worker_id: UUID
    stacks: list[StackAnswer]
