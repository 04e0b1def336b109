"""Metrics that the three services update as events happen.

Histograms use the platform's own class (`shared.telemetry.histogram`). All other metrics are in
prometheus-client's default registry. `services.worker.process_metrics` computes further metrics at
each scrape, and `services/scheduler/leader_gauges.py` contains those that only the leading scheduler
reports.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from prometheus_client import Counter, Gauge, Metric, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily

from shared.contracts.objective import BOUNDS_S
from shared.telemetry.histogram import Histogram, Observations

# By default, prometheus-client also exposes the creation time of each counter. That is switched
# off, because it would be a quarter of all lines, and nothing uses it.
disable_created_metrics()  # type: ignore[no-untyped-call]

SUBMITTED = Counter("often_tasks_submitted_total", "Tasks that were submitted and stored.", ["queue", "task"])
WAIT_SECONDS = Histogram(
    "often_task_wait_seconds",
    "Time from the moment a task could run to the start of its attempt.",
    ["queue", "task"],
    bounds=BOUNDS_S,
)
STARTED = Counter("often_tasks_started_total", "Attempts that have started.", ["queue", "task"])
STARTED_OVER = Counter(
    "often_tasks_started_over_total",
    "Attempts that began after the end of a worker had cut short at least three earlier ones of their task.",
    ["queue", "task"],
)
FINISHED = Counter(
    "often_tasks_finished_total", "Attempts that have ended, by outcome.", ["queue", "task", "outcome"]
)
FAILED = Counter(
    "often_tasks_failed_total",
    "Tasks that failed for good in a worker, by kind of error. The kind `refused` is not our failure: "
    "an outside service declined, for example a card.",
    ["queue", "task", "kind"],
)
EXPIRED = Counter(
    "often_tasks_expired_total",
    "Tasks that failed because their deadline (`expires_at`) passed while they waited.",
    ["queue", "task"],
)
RETRIED = Counter(
    "often_tasks_retried_total",
    "Failed attempts that are followed by another attempt, by kind of error.",
    ["queue", "task", "kind"],
)
RUN_SECONDS = Histogram(
    "often_task_run_seconds",
    "Time from the start of an attempt to its outcome.",
    ["queue", "task"],
    bounds=BOUNDS_S,
)
CANCEL_SECONDS = Histogram(
    "often_cancel_seconds",
    "Time from the request to cancel a task to its recorded end, by the escalation step that ended it.",
    ["rung"],
    # The bounds of the buckets are dense around 5 s and 10 s, the grace periods in
    # `services.worker.running.time_limits`.
    bounds=(0.005, 0.02, 0.1, 0.5, 1, 3, 5.5, 8, 10.5, 13, 20, 60),
)
WORKFLOWS_SUBMITTED = Counter("often_workflows_submitted_total", "Workflows that were submitted and stored.")
WORKFLOWS_FINISHED = Counter(
    "often_workflows_finished_total", "Workflows that have ended, by status.", ["status"]
)
WORKFLOW_STEPS_REPAIRED = Counter(
    "often_workflow_steps_repaired_total",
    "Workflow steps whose tasks had ended without an event, which the sweep has added.",
)
WORKFLOW_ADVANCE_SECONDS = Histogram(
    "often_workflow_advance_seconds",
    "Time to apply the pending events of some workflows and to push the tasks that follow.",
    bounds=(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1, 5, 30),
)


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """The metrics of the attempts of one task. They are cached, because each lookup by labels takes
    1 to 2 µs.
    """

    wait_seconds: Observations
    started: Counter
    run_seconds: Observations


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


RECORDED = Counter(
    "often_recorder_rows_total", "Rows that a worker's recorder wrote, by verdict.", ["verdict"]
)
RECORDER_ROUND_SECONDS = Histogram(
    "often_recorder_round_seconds",
    "Time in which a worker's recorder wrote one batch, including the commit.",
    bounds=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5),
)
RECORDER_BATCH_ROWS = Histogram(
    "often_recorder_batch_rows",
    "Tasks in one batch that a worker's recorder wrote.",
    bounds=(1, 3, 10, 30, 100, 300, 1000, 3000),
)
RECORDER_LAG_SECONDS = Histogram(
    "often_recorder_lag_seconds",
    "Age of the oldest record in a batch at the moment of its commit.",
    # One of the bounds is 10 s, because that is the objective for recording outcomes; see
    # `monitoring/prometheus/objectives.py`.
    bounds=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 5, 10, 30, 300),
)
RECORDER_BLOCKED = Gauge(
    "often_recorder_blocked", "1 while Postgres does not accept the records of this process."
)
CLAIMED = Counter("often_worker_claimed_total", "Tasks that this worker has claimed.")
NOT_CLAIMED = Counter(
    "often_worker_not_claimed_total",
    "Fetched ids that could not be claimed, because they were sent twice or their task had moved on.",
)
GIVEN_BACK = Counter(
    "often_worker_given_back_total",
    "Claims that were given back before their task started, by reason.",
    ["reason", "task"],
)
ISOLATED = Counter(
    "often_worker_isolated_total",
    "How often a worker ran a suspect alone. A suspect is a task during which an earlier worker died.",
)
REPLACED = Counter(
    "often_worker_replaced_total",
    "How often a worker was replaced by a new process, by reason. The new process continues the count.",
    ["reason"],
)
OUTSIDE_REQUESTS = Counter(
    "often_outside_requests_total",
    "Requests to outside services, by outcome: answered, away, busy, refused, unsendable, or resting "
    "(not sent, because the service had failed too often).",
    ["service", "outcome"],
)
OUTSIDE_SECONDS = Histogram(
    "often_outside_request_seconds",
    "Time from sending a request to an outside service to the end of its answer.",
    ["service"],
    bounds=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
OUTSIDE_RESTING = Gauge(
    "often_outside_circuits_open",
    "Parts of an outside service that are currently not called, because they failed too often.",
    ["service"],
)

EVENT_LOOP_BLOCKED_SECONDS = Histogram(
    "often_event_loop_blocked_seconds",
    "Periods of at least one second in which an async task function blocked its worker's event loop.",
    bounds=(1, 2, 5, 15, 60),
)

BUILD_INFO = Gauge(
    "often_build_info",
    "Always 1. The labels are the release and the Python version of this process.",
    ["release", "python"],
)
CLOCK_OFFSET_SECONDS = Gauge(
    "often_clock_offset_seconds",
    "Clock of Postgres minus the clock of this machine, including the time that one answer takes.",
)

LOOP_ERRORS = Counter(
    "often_loop_errors_total", "Rounds of a background loop that ended with an error.", ["loop"]
)
POSTGRES_REFUSALS = Counter(
    "often_postgres_refusals_total",
    "Statements that Postgres refused with a temporary error, by class of SQLSTATE.",
    ["sqlstate_class"],
)
TRACE_SPANS_DROPPED = Counter(
    "often_trace_spans_dropped_total",
    "Sampled spans that the collector did not get, by reason: queue_full or not_taken.",
    ["reason"],
)
QUOTA_REFUSALS = Counter(
    "often_quota_refusals_total",
    "Submissions that were refused because a quota was used up, by quota.",
    ["quota"],
)
STREAMS_OPEN = Gauge("often_streams_open", "Event streams that are open, by kind.", ["kind"])
RESULTS_AWAITED = Gauge("often_results_awaited", "Open requests that wait for the end of a task.")
STREAM_EVENTS = Counter("often_stream_events_total", "Events that were sent to streams, by event.", ["event"])
STREAM_EVENTS_DROPPED = Counter(
    "often_stream_events_dropped_total",
    "Changes that a stream did not send, because a newer one replaced them or the client read too slowly.",
)
PUBLISH_FAILURES = Counter(
    "often_publish_failures_total",
    "Messages about changes that Redis did not accept. Event streams read the rows instead.",
)

BULK_RUNNING = Gauge("often_bulk_running", "Bulk operations that this worker is carrying out.")
BULK_ROWS = Counter(
    "often_bulk_rows_total",
    "Tasks and workflows that a bulk operation has handled, by action and verdict.",
    ["action", "verdict"],
)

SERVER_UP = Gauge(
    "often_server_up",
    "1 while the server answers the schedulers, whether they lead or not; 0 while it does not.",
    ["server"],
)
SENT = Counter(
    "often_dispatcher_sent_total",
    "Ids that the leading scheduler sent to Redis, by reason. A lost id counts under its reason and "
    "again as `due` when it is pushed.",
    ["reason"],
)
RESCUED = Counter(
    "often_rescuer_rescued_total", "Tasks that were taken back from dead workers, by verdict.", ["verdict"]
)
CRASHED = Counter(
    "often_tasks_crashed_total",
    "Attempts whose process died, by verdict. The leading scheduler counts them.",
    ["queue", "task", "verdict"],
)
WORKERS_DECLARED_DEAD = Counter(
    "often_rescuer_workers_declared_dead_total", "Workers that were declared dead."
)

SCHEDULE_FIRED = Counter(
    "often_schedule_fired_total", "Nominal times of a schedule, by outcome.", ["schedule", "outcome"]
)
SCHEDULE_LAG_SECONDS = Histogram(
    "often_schedule_lag_seconds",
    "Time from a nominal time to the submission of its task.",
    bounds=(0.1, 0.5, 1, 3, 10, 30, 60, 300, 1800, 7200),
)
PARTITIONS_KEPT = Gauge(
    "often_pruner_partitions_kept",
    "Days older than their retention that still have rows, by reason.",
    ["reason"],
)
PRUNED = Counter(
    "often_pruner_rows_total", "Rows that were deleted because of their age, by table.", ["table"]
)


# Each `expect_…` function below creates series with the value 0 at startup, because `rate()` misses
# the first increment of a series that did not exist before.


def expect_submissions(queue: str, task: str) -> None:
    SUBMITTED.labels(queue, task)


def expect_quota_refusals(quota: str) -> None:
    QUOTA_REFUSALS.labels(quota)


def expect_spans() -> None:
    for reason in ("queue_full", "not_taken"):
        TRACE_SPANS_DROPPED.labels(reason)


def expect_streams() -> None:
    for kind in ("task", "workflow", "list"):
        STREAMS_OPEN.labels(kind)
    for event in ("state", "change", "lines", "end", "resync", "degraded", "expired", "bye"):
        STREAM_EVENTS.labels(event)


def expect_attempts(queue: str, task: str) -> None:
    """Create the series of the counters of a task's attempts.

    Series of histograms are not created, because they would be most of the exposed lines. `rate()`
    may therefore miss their first observation.
    """
    STARTED.labels(queue, task)
    STARTED_OVER.labels(queue, task)
    for outcome in ("success", "failure", "retry"):
        finished(queue, task, outcome)
    FAILED.labels(queue, task, "refused")


def expect_replacements(reasons: Iterable[str]) -> None:
    for reason in reasons:
        REPLACED.labels(reason)


def expect_outside(service: str) -> None:
    for outcome in ("answered", "away"):
        OUTSIDE_REQUESTS.labels(service, outcome)


def expect_cancels() -> None:
    for rung in ("held", "flag", "interrupt", "process"):
        CANCEL_SECONDS.labels(rung)


def expect_bulk_acts() -> None:
    for action in ("retry", "cancel", "run_now", "release", "change"):
        for verdict in ("done", "skipped", "refused"):
            BULK_ROWS.labels(action, verdict)


def expect_records() -> None:
    for verdict in ("written", "already_mine", "refused", "unknown"):
        RECORDED.labels(verdict)


def expect_rescues(queue: str, task: str) -> None:
    EXPIRED.labels(queue, task)
    CRASHED.labels(queue, task, "failure")


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
    """Create a gauge whose values are computed at each scrape; `values` maps label values to the
    gauge's value.
    """
    family = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
