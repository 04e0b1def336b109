"""Every metric of the three services, in the default registry of prometheus-client. Seconds and counts."""

import functools
from dataclasses import dataclass

from prometheus_client import Counter, Gauge, Histogram

SUBMITTED = Counter("often_tasks_submitted_total", "Tasks stored.", ["queue", "task"])
WAIT_SECONDS = Histogram(
    "often_task_wait_seconds",
    "Time from the moment a task could run to the start of its attempt.",
    ["queue", "task"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800, 7200),
)
STARTED = Counter("often_tasks_started_total", "Attempts started.", ["queue", "task"])
FINISHED = Counter("often_tasks_finished_total", "Attempts ended, by outcome.", ["queue", "task", "outcome"])
EXPIRED = Counter(
    "often_tasks_expired_total", "Tasks whose expires_at passed while they waited.", ["queue", "task"]
)
RETRIED = Counter(
    "often_tasks_retried_total",
    "Attempts that failed and are followed by another one.",
    ["queue", "task", "kind"],
)
RUNNING = Gauge("often_tasks_running", "Attempts running in this process.", ["queue", "task"])
RUN_SECONDS = Histogram(
    "often_task_run_seconds",
    "Time from start to outcome of one attempt.",
    ["queue", "task"],
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 5, 15, 60, 300, 1800),
)
CANCEL_SECONDS = Histogram(
    "often_cancel_seconds",
    "Time from the request to cancel to the recorded end, by what it took to end the task.",
    ["rung"],
    # Close to the graces of `services.worker.overtime`, 5 s and 10 s.
    buckets=(0.005, 0.02, 0.1, 0.5, 1, 3, 5.5, 8, 10.5, 13, 20, 60),
)


@dataclass(frozen=True, slots=True)
class TaskMetrics:
    """What each attempt of one task touches, looked up once: by labels each costs a microsecond or two."""

    wait_seconds: Histogram
    started: Counter
    running: Gauge
    run_seconds: Histogram


@functools.cache
def of_task(queue: str, task: str) -> TaskMetrics:
    labels = (queue, task)
    return TaskMetrics(
        WAIT_SECONDS.labels(*labels),
        STARTED.labels(*labels),
        RUNNING.labels(*labels),
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
HELD = Gauge("often_worker_tasks_held", "Claims of this process whose outcome is not yet written.")
CLAIMED = Counter("often_worker_claimed_total", "Tasks claimed.")
NOT_CLAIMED = Counter(
    "often_worker_not_claimed_total",
    "Fetched ids that could not be claimed: sent twice, or somewhere else by then.",
)
GIVEN_BACK = Counter(
    "often_worker_given_back_total", "Claims given back before their start, by reason.", ["reason", "task"]
)

LEADER = Gauge("often_scheduler_leader", "1 while this process leads.")
DEPTH = Gauge("often_queue_depth", "Tasks that could run now, by queue; told by the leader.", ["queue"])
OLDEST_AGE_SECONDS = Gauge(
    "often_queue_oldest_age_seconds", "How long the task that could run first has waited.", ["queue"]
)
SENT = Counter(
    "often_dispatcher_sent_total",
    "Ids sent by the leader, by reason; one that was lost counts as due as well once it is pushed.",
    ["reason"],
)
RESCUED = Counter(
    "often_rescuer_rescued_total", "Tasks taken back from dead workers, by what follows.", ["verdict"]
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
SCHEDULE_NEXT_FIRE = Gauge(
    "often_schedule_next_fire_timestamp_seconds",
    "When a schedule fires next; told by the leader.",
    ["schedule"],
)

PARTITIONS_KEPT = Gauge(
    "often_pruner_partitions_kept", "Days past their time that still hold rows, by reason.", ["reason"]
)
PRUNED = Counter("often_pruner_rows_total", "Rows deleted because of their age, by table.", ["table"])
