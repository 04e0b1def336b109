"""Request and response bodies with which operators see and change queues and workers."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Meta

from services.api.http.schemas import Answer, Body, Reason


class PauseBody(Body):
    reason: Reason


class Pause(Answer):
    since: datetime
    #: Id of the account that paused the queue; null once the account was erased.
    by: int | None
    reason: str | None


class QueueAnswer(Answer, kw_only=True):
    queue: str
    #: Number of tasks in the queue that are ready to run.
    waiting: int
    #: Number of ready tasks in each lane: the priorities from 9 to 0, and `rescued` for tasks whose
    #: worker died. Canceled tasks are counted until a worker fetches their ids.
    depth: dict[str, int]
    #: Seconds for which the oldest ready task has waited.
    oldest_age_s: float
    #: Number of delayed tasks and retries of this queue. Only the 10,000 tasks of all queues that
    #: are due next are counted.
    due_later: int
    #: Details of the pause; null when the queue is not paused.
    paused: Pause | None
    #: False if this queue cannot be paused, because bulk operations run in it.
    may_pause: bool
    #: Number of living workers that serve the queue.
    workers: int


class QueueList(Answer):
    items: list[QueueAnswer]


class QueuePaused(Answer):
    queue: str
    paused: Pause
    #: Number of waiting tasks of the queue that have a deadline. They fail if the pause lasts until
    #: then. Only the 10,000 tasks of all queues that expire next are counted. Null if they could
    #: not be counted; the queue is paused anyway.
    expiring: int | None
    #: Time of the earliest deadline of the tasks that wait in the paused queue.
    first_expires_at: datetime | None
    message: str


class QueueResumed(Answer):
    queue: str
    #: Details of the pause that this request ended; null if the queue was not paused.
    paused: Pause | None
    message: str


class PurgeBody(Body):
    confirm: Annotated[
        str, Meta(max_length=100, description="The name of the queue again, as a confirmation")
    ]
    reason: Reason | None = None


class QueuePurged(Answer):
    queue: str
    #: Number of waiting tasks that were canceled by this request.
    canceled: int
    #: True if more tasks wait in the queue. To cancel them, the client sends the request again.
    more: bool


class RunningTask(Answer, kw_only=True):
    """A task that a worker is running."""

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
    #: Version of the worker's code; null for old releases of the worker, which do not report it.
    release: str | None
    #: State of the worker: running, quiet, draining, stopped (it ended by itself) or dead (the
    #: rescuer declared it dead).
    state: str
    #: The last request of an operator to the worker: quiet (fetch no new tasks), drain (finish and
    #: stop) or recycle (finish and restart).
    asked: str | None
    queues: list[str]
    threads: int
    threads_busy: int
    #: Number of tasks that the worker has claimed and whose outcome is not written yet, including
    #: running ones.
    held: int
    #: Resident memory of the worker process at its last heartbeat.
    memory_bytes: int | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    running: list[RunningTask]


class WorkerPage(Answer):
    items: list[WorkerAnswer]
    #: Cursor of the next page, to be sent as the parameter `cursor`. Null on the last page.
    next_cursor: str | None


class WorkerAsked(Answer):
    worker_id: UUID
    asked: str
    message: str
