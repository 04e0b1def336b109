"""What the three services count as it happens, in the default registry of prometheus-client.

`services.worker.process_metrics` works out the rest when Prometheus asks; `services.scheduler.gauges` holds
what only the leader reports.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter, Gauge, Histogram, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

# When each counter began: a quarter of all lines, and nobody asks.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: Upper bounds in seconds; the statistics that are kept in the ledger have the same.
WAIT_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200)
RUN_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800)

SUBMITTED = Counter("often_tasks_submitted_total", "Tasks stored.", ["queue", "task"])
WAIT_SECONDS = Histogram(
    "often_task_wait_seconds",
    "Time from the moment a task could run to the start of its attempt.",
    ["queue", "task"],
    buckets=WAIT_BUCKETS,
)
STARTED = Counter("often_tasks_started_total", "Attempts started.", ["queue", "task"])
STARTED_OVER = Counter(
    "often_tasks_started_over_total",
    "Attempts begun after three or more of the same task were cut short by the end of their worker.",
    ["queue", "task"],
)
FINISHED = Counter("often_tasks_finished_total", "Attempts ended, by outcome.", ["queue", "task", "outcome"])
EXPIRED = Counter(
    "often_tasks_expired_total", "Tasks whose expires_at passed while they waited.", ["queue", "task"]
)
RETRIED = Counter(
    "often_tasks_retried_total",
    "Attempts that failed and are followed by another one.",
    ["queue", "task", "kind"],
)
RUN_SECONDS = Histogram(
    "often_task_run_seconds",
    "Time from start to outcome of one attempt.",
    ["queue", "task"],
    buckets=RUN_BUCKETS,
)
CANCEL_SECONDS = Histogram(
    "often_cancel_seconds",
    "Time from the request to cancel to the recorded end, by what it took to end the task.",
    ["rung"],
    # Close to the graces of `services.worker.running.time_limits`, 5 s and 10 s.
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 3, 5.5, 8, 10.5, 13, 20, 60),
)
WORKFLOWS_SUBMITTED = Counter("often_workflows_submitted_total", "Workflows stored.")
WORKFLOWS_FINISHED = Counter("often_workflows_finished_total", "Workflows ended, by status.", ["status"])
WORKFLOW_STEPS_REPAIRED = Counter(
    "often_workflow_steps_repaired_total", "Steps with ends of tasks that no event told of."
)
WORKFLOW_ADVANCE_SECONDS = Histogram(
    "often_workflow_advance_seconds",
    "Time to apply the events of some workflows and to push the tasks that follow.",
    buckets=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30),
)


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """What each attempt of one task touches, looked up once: by labels each costs a microsecond or two."""

    wait_seconds: Histogram
    started: Counter
    run_seconds: Histogram


@functools.cache
def of_task(queue: str, task: str) -> TaskMetrics:
    labels = (queue, task)
    return TaskMetrics(
        WAIT_SECONDS.labels(*labels),
        STARTED.labels(*labels),
        RUN_SECONDS.labels(*labels),
    )


@functools.cache
def finished(queue: str, task: str, outcome: str) -> Counter:
    return FINISHED.labels(queue, task, outcome)


RECORDED = Counter("often_recorder_rows_total", "Rows that the recorder wrote, by verdict.", ["verdict"])
RECORDER_ROUND_SECONDS = Histogram(
    "often_recorder_round_seconds",
    "Time of one recorder round, commit included.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5),
)
RECORDER_BATCH_ROWS = Histogram(
    "often_recorder_batch_rows",
    "Tasks written in one recorder round.",
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
)
RECORDER_LAG_SECONDS = Histogram(
    "often_recorder_lag_seconds",
    "Age of the oldest record of a round when the round is committed.",
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5, 30, 300),
)
RECORDER_BLOCKED = Gauge("often_recorder_blocked", "1 while the ledger does not take this process' records.")
CLAIMED = Counter("often_worker_claimed_total", "Tasks claimed.")
NOT_CLAIMED = Counter(
    "often_worker_not_claimed_total",
    "Fetched ids that could not be claimed: sent twice, or somewhere else by then.",
)
GIVEN_BACK = Counter(
    "often_worker_given_back_total", "Claims given back before their start, by reason.", ["reason", "task"]
)

EVENT_LOOP_BLOCKED_SECONDS = Histogram(
    "often_event_loop_blocked_seconds",
    "Times in which an async body blocked the event loop of its worker for a second or longer.",
    buckets=(1, 2, 5, 15, 60),
)

LOOP_ERRORS = Counter(
    "often_loop_errors_total", "Rounds of a background loop that ended in an error.", ["loop"]
)
POSTGRES_REFUSALS = Counter(
    "often_postgres_refusals_total",
    "Statements that Postgres refused with a passing error, by class of SQLSTATE.",
    ["sqlstate_class"],
)
QUOTA_REFUSALS = Counter(
    "often_quota_refusals_total", "Submissions refused because a quota is used up, by quota.", ["quota"]
)
STREAMS_OPEN = Gauge("often_streams_open", "Event streams that clients hold open, by kind.", ["kind"])
STREAM_EVENTS = Counter("often_stream_events_total", "Events sent to streams, by event.", ["event"])
STREAM_EVENTS_DROPPED = Counter(
    "often_stream_events_dropped_total",
    "Changes that a stream did not send: a newer one replaced them, or the client takes too few.",
)

SERVER_UP = Gauge(
    "often_server_up",
    "1 while the server answers the schedulers, whether they lead or not; 0 while it does not.",
    ["server"],
)
SENT = Counter(
    "often_dispatcher_sent_total",
    "Ids sent by the leader, by reason; one that was lost counts as due as well once it is pushed.",
    ["reason"],
)
RESCUED = Counter(
    "often_rescuer_rescued_total", "Tasks taken back from dead workers, by what follows.", ["verdict"]
)
CRASHED = Counter(
    "often_tasks_crashed_total",
    "Attempts whose process died, by what follows; counted by the leader.",
    ["queue", "task", "verdict"],
)
WORKERS_DECLARED_DEAD = Counter("often_rescuer_workers_dead_total", "Workers declared dead.")

SCHEDULE_FIRED = Counter(
    "often_schedule_fired_total", "Nominal times, by what became of them.", ["schedule", "outcome"]
)
SCHEDULE_LAG_SECONDS = Histogram(
    "often_schedule_lag_seconds",
    "Time from a nominal time to the submission of its task.",
    buckets=(0.1, 0.5, 1, 3, 10, 30, 60, 300, 1800, 7200),
)
PARTITIONS_KEPT = Gauge(
    "often_pruner_partitions_kept", "Days past their time that still hold rows, by reason.", ["reason"]
)
PRUNED = Counter("often_pruner_rows_total", "Rows deleted because of their age, by table.", ["table"])


# Whoever may count something says so when it begins: `rate` does not see the event that a series begins with.


def expect_submissions(queue: str, task: str) -> None:
    SUBMITTED.labels(queue, task)


def expect_quota_refusals(quota: str) -> None:
    QUOTA_REFUSALS.labels(quota)


def expect_streams() -> None:
    for kind in ("task", "workflow", "list"):
        STREAMS_OPEN.labels(kind)
    for event in ("state", "change", "lines", "end", "resync", "degraded", "expired", "bye"):
        STREAM_EVENTS.labels(event)


def expect_attempts(queue: str, task: str) -> None:
    """But for the histograms, which are most of all lines and none of whose first events anybody misses."""
    STARTED.labels(queue, task)
    STARTED_OVER.labels(queue, task)
    for outcome in ("success", "failure", "retry", "revoked", "given_back"):
        finished(queue, task, outcome)
    for kind in ("expected", "bug", "time_limit"):
        RETRIED.labels(queue, task, kind)


def expect_cancels() -> None:
    for rung in ("held", "flag", "interrupt", "process"):
        CANCEL_SECONDS.labels(rung)


def expect_records() -> None:
    for verdict in ("written", "already_mine", "refused"):
        RECORDED.labels(verdict)


def expect_rescues(queue: str, task: str) -> None:
    EXPIRED.labels(queue, task)
    for verdict in ("sent_again", "failure", "revoked"):
        CRASHED.labels(queue, task, verdict)


def expect_sending() -> None:
    for reason in ("due", "generation", "restart", "lost"):
        SENT.labels(reason)


def expect_workflows() -> None:
    for status in ("success", "failure", "revoked"):
        WORKFLOWS_FINISHED.labels(status)


def expect_firings(schedule: str) -> None:
    for outcome in ("submitted", "skipped_overlap", "skipped_misfire", "failed"):
        SCHEDULE_FIRED.labels(schedule, outcome)


LabelValues = TypeVar("LabelValues", bound=tuple[str, ...])


def gauge(
    name: str, documentation: str, labels: Sequence[str], values: Mapping[LabelValues, float]
) -> Metric:
    """A gauge that is worked out when it is asked for, by the values of its labels."""
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
