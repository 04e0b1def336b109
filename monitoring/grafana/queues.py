"""What waits."""

from monitoring.grafana.panels import QUEUE, PanelBuilder, Query, lines


def panels() -> list[PanelBuilder]:
    return [
        lines(
            "Depth, by queue and priority",
            "Tasks that could run now, 9 first; `rescued` are those whose worker died. Growing: more comes "
            "in than goes out. Told by the leader: a gap means that nobody leads.",
            Query(f"sum by (queue, priority) (often_queue_depth{{{QUEUE}}})", "{{queue}} {{priority}}"),
            unit="short",
            width=12,
            stacked=True,
        ),
        lines(
            "Oldest age",
            "How long the task has waited that could run first. Minutes: add workers for this queue.",
            Query(f"queue:often_queue_oldest_age_seconds:max{{{QUEUE}}}", "{{queue}}"),
            unit="s",
            width=12,
        ),
        lines(
            "Due later",
            "Delayed tasks and retries that wait for their time; of 10,000 at most, those that are due "
            "first. A climb after failures is their retries.",
            Query(f"sum by (queue) (often_queue_due_later{{{QUEUE}}})", "{{queue}}"),
            unit="short",
        ),
        lines(
            "Sent, by reason",
            "Ids that the leader put into Redis per second. `due` is everyday work; anything else was lost "
            "there and is sent again.",
            Query("sum by (reason) (rate(often_dispatcher_sent_total[1m]))", "{{reason}}"),
            unit="cps",
        ),
        lines(
            "Workers, by queue",
            "Processes that fetch from a queue. None: OFTEN_WORKER_QUEUES leaves it out, or its workers are "
            "gone.",
            Query(f"queue:often_worker_serves:sum{{{QUEUE}}}", "{{queue}}"),
            unit="short",
        ),
    ]
