"""Statistics of tasks as they are read."""

from datetime import datetime

from services.api.http.schemas import Answer
from services.api.tasks.schemas import TaskAnswer


class TaskSummary(Answer):
    #: The sum of the counts below.
    total_tasks: int
    #: Retries that wait are among them.
    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    revoked_tasks: int
    #: Successes among the tasks that succeeded or failed, in percent.
    success_rate: float
    recent_tasks: list[TaskAnswer]
    #: False: there are more. At most 10,000 tasks that wait, as many that run, and the newest 10,000 of a
    #: user are counted.
    exact: bool
    #: Tasks that ended before it are not counted; null: all that are stored are.
    since: datetime | None


class Point(Answer):
    """What ended in one step, from `at` on."""

    at: datetime
    success: int
    failure: int
    revoked: int
    #: Attempts that failed and are followed by another one.
    retry: int
    #: Per second; attempts that another one follows are not among them.
    ended_per_s: float
    #: Null where no attempt ran.
    mean_wait_s: float | None
    mean_run_s: float | None


class Series(Answer):
    since: datetime
    step_s: int
    #: Oldest first. Steps in which nothing ended are left out.
    points: list[Point]


class KindStatistics(Answer):
    """What ended of one kind of task. Quantiles come from a histogram."""

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


class Kinds(Answer):
    since: datetime
    #: By queue and name.
    kinds: list[KindStatistics]


class Count(Answer):
    count: int
    #: False: there are more than that.
    exact: bool


class WaitingKind(Answer):
    """Tasks of one kind that wait, of those that were counted."""

    name: str
    type: str
    queue: str
    #: They could run now.
    waiting: int
    #: They are delayed, or wait for their next attempt.
    later: int


class QueueWaits(Answer):
    """How long attempts of a queue that have ended waited before."""

    queue: str
    started: int
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None


class Waits(Answer):
    since: datetime
    waiting: Count
    later: Count
    #: Tasks that a worker holds.
    held: Count
    kinds: list[WaitingKind]
    queues: list[QueueWaits]
