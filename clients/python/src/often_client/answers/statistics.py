"""Statistics of tasks: counts, rates and durations."""

from datetime import datetime

from msgspec import Struct

from often_client.answers.tasks import Task


class TaskSummary(Struct, kw_only=True):
    total_tasks: int
    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    revoked_tasks: int
    success_rate: float
    recent_tasks: list[Task]
    #: Whether the counts are exact; False if they are lower bounds.
    exact: bool
    since: datetime | None


class Point(Struct, kw_only=True):
    at: datetime
    success: int
    failure: int
    revoked: int
    retry: int
    ended_per_s: float
    mean_wait_s: float | None
    mean_run_s: float | None


class Series(Struct):
    since: datetime
    step_s: int
    points: list[Point]


class KindStatistics(Struct, kw_only=True):
    name: str
    type: str
    queue: str
    success: int
    failure: int
    revoked: int
    retry: int
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None
    mean_run_s: float | None
    run_p50_s: float | None
    run_p95_s: float | None
    run_p99_s: float | None
    max_run_s: float | None


class Kinds(Struct):
    since: datetime
    kinds: list[KindStatistics]


class Count(Struct):
    count: int
    #: Whether `count` is exact; False if it is a lower bound.
    exact: bool


class WaitingKind(Struct):
    name: str
    type: str
    queue: str
    waiting: int
    later: int


class QueueWaits(Struct):
    queue: str
    started: int
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None


class Waits(Struct):
    since: datetime
    waiting: Count
    later: Count
    held: Count
    kinds: list[WaitingKind]
    queues: list[QueueWaits]
