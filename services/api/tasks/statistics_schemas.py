"""Response schemas of the task statistics."""

from datetime import datetime

from services.api.http.schemas import Answer
from services.api.tasks.schemas import TaskAnswer


class TaskSummary(Answer):
    #: Number of all tasks, which is the sum of the counts by status.
    total_tasks: int
    #: Number of waiting tasks, including tasks that wait for a retry.
    pending_tasks: int
    running_tasks: int
    completed_tasks: int
    failed_tasks: int
    revoked_tasks: int
    #: Percentage of successful tasks among those that succeeded or failed.
    success_rate: float
    recent_tasks: list[TaskAnswer]
    #: False if some counts are lower bounds. At most 10,000 waiting tasks, 10,000 running tasks,
    #: and the newest 10,000 tasks of a user are counted.
    exact: bool
    #: Only tasks that ended at or after this time are counted; null if all stored tasks are
    #: counted.
    since: datetime | None


class Point(Answer):
    """The tasks that ended in one step of a time series. The step begins at `at`."""

    at: datetime
    success: int
    failure: int
    revoked: int
    #: Number of failed attempts that were followed by another attempt.
    retry: int
    #: Rate of ended tasks per second, over the step or the part of it that has passed. Attempts
    #: that are followed by a retry are not counted.
    ended_per_s: float
    #: Average time in seconds that attempts waited before they started, and that they ran; null if
    #: no attempt ran.
    mean_wait_s: float | None
    mean_run_s: float | None


class Series(Answer):
    #: Time at which the first step begins.
    since: datetime
    step_s: int
    #: Points of the time series, oldest first. Steps in which no task ended are left out.
    points: list[Point]


class KindStatistics(Answer):
    """Statistics of the ended tasks of one kind. Quantiles are estimated from a histogram."""

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
    #: Statistics of each kind of task, sorted by queue and name.
    kinds: list[KindStatistics]


class Count(Answer):
    count: int
    #: False if `count` is a lower bound because there are more tasks than were counted.
    exact: bool


class WaitingKind(Answer):
    """Number of waiting tasks of one kind, among the waiting tasks that were counted."""

    name: str
    type: str
    queue: str
    #: Number of tasks that are ready to run.
    waiting: int
    #: Number of tasks that are delayed or wait for a retry.
    later: int


class QueueWaits(Answer):
    """How long attempts of one queue waited before they started. Only attempts that have ended are
    counted.
    """

    queue: str
    started: int
    mean_wait_s: float | None
    wait_p50_s: float | None
    wait_p95_s: float | None


class Waits(Answer):
    since: datetime
    waiting: Count
    later: Count
    #: Number of tasks that workers hold, whether or not their bodies have started.
    held: Count
    kinds: list[WaitingKind]
    queues: list[QueueWaits]
