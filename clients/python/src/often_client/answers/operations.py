"""Answers for operators: the health of the platform, queues and workers."""

from datetime import datetime
from typing import Any
from uuid import UUID

from msgspec import Struct


class Target(Struct):
    #: Kind of the object that has the problem: server, queue, worker, kind, schedule, error or
    #: bulk.
    kind: str
    name: str


class Trouble(Struct, kw_only=True):
    """One thing that is wrong with the platform now. The API calls it a problem."""

    #: Name of the problem that stays the same in later releases, so programs can branch on it.
    code: str
    #: How bad the problem is: critical, warning or notice.
    severity: str
    sentence: str
    target: Target | None
    since: datetime | None
    #: What an operator should do next about the problem.
    remedy: str
    #: API path of a request that shows more about the problem.
    link: str | None
    #: Heading of the section in docs/operations.md that covers the problem.
    runbook: str | None


class SystemHealth(Struct, kw_only=True):
    checked_at: datetime
    #: Overall health of the platform: critical, warning or ok.
    verdict: str
    #: Present problems, most severe first.
    problems: list[Trouble]
    #: Facts about Postgres and Redis, by the name of the server. The fact `answer` is "ok" or
    #: describes the problem.
    servers: dict[str, dict[str, Any]]
    #: Names of the facts that could not be read in time, so their state is unknown.
    unknown: list[str]


class Pause(Struct):
    since: datetime
    #: Id of the account that paused the queue.
    by: int | None
    reason: str | None


class Queue(Struct, kw_only=True):
    queue: str
    #: Number of the queue's tasks that could run now. `depth` has the same tasks, counted by
    #: priority.
    waiting: int
    depth: dict[str, int]
    #: Seconds for which the task that has waited longest in the queue has waited.
    oldest_age_s: float
    #: Number of delayed tasks and of tasks that wait for a retry.
    due_later: int
    #: Who paused the queue, when and why; None when the queue is not paused.
    paused: Pause | None
    may_pause: bool
    #: Number of living workers that serve the queue.
    workers: int


class QueueList(Struct):
    items: list[Queue]


class QueuePaused(Struct):
    queue: str
    paused: Pause
    #: Number of waiting tasks that will expire if the queue stays paused; None if they could not be
    #: counted in time.
    expiring: int | None
    first_expires_at: datetime | None
    message: str


class QueueResumed(Struct):
    queue: str
    #: The pause that this request has ended; None if the queue was not paused.
    paused: Pause | None
    message: str


class QueuePurged(Struct):
    queue: str
    canceled: int
    #: True if more tasks wait in the queue: send the request to purge it again.
    more: bool


class RunningTask(Struct, kw_only=True):
    task_id: UUID
    task_name: str
    queue: str
    attempt: int
    started_at: datetime
    running_s: float
    progress_current: int
    progress_total: int
    progress_message: str | None


class Worker(Struct, kw_only=True):
    id: UUID
    hostname: str
    pid: int
    release: str | None
    #: State of the worker: running, quiet, draining, stopped or dead.
    state: str
    #: What an operator asked the worker to do: quiet, drain or recycle; None if nothing.
    asked: str | None
    queues: list[str]
    threads: int
    threads_busy: int
    #: Number of tasks that the worker has claimed, running ones included.
    held: int
    memory_bytes: int | None
    started_at: datetime
    heartbeat_at: datetime
    ended_at: datetime | None
    running: list[RunningTask]


class WorkerAsked(Struct):
    worker_id: UUID
    asked: str
    message: str
