"""Defines the Grafana dashboard "Queue": what waits, for how long, and why?"""

from monitoring.grafana.panels import Column, PanelBuilder, Query, lines, link, listing, or_zero, quantiles

TITLE = "Queue"
QUESTION = "What waits, for how long, and why?"
CHOICES = ("queue",)

CHOSEN = 'queue=~"$queue"'
CONSOLE = link("Queues in the console", "${console}/queues")


def panels() -> list[PanelBuilder]:
    return [
        listing(
            "What is the state of each queue?",
            "Drains in: the time to empty the queue at the pace of the last five minutes. Paused: by an "
            "operator; the console says who and why.",
            "queue",
            {
                "waiting": Column(f"queue:often_queue_depth:sum{{{CHOSEN}}}", "short"),
                "oldest": Column(f"queue:often_queue_oldest_age_seconds:max{{{CHOSEN}}}", "s"),
                "due later": Column(f"sum by (queue) (often_queue_due_later{{{CHOSEN}}})", "short"),
                "running": Column(f"queue:often_tasks_running:sum{{{CHOSEN}}}", "short"),
                "drains in": Column(
                    f"queue:often_queue_depth:sum{{{CHOSEN}}}"
                    # The divisor is at least 1e-9, so that a queue from which nothing starts is
                    # shown as draining in years, not as a gap.
                    f" / clamp_min(queue:often_tasks_started:increase5m{{{CHOSEN}}} / 300, 1e-9)",
                    "s",
                ),
                "workers": Column(f"queue:often_worker_serves:sum{{{CHOSEN}}}", "short"),
                "paused": Column(f"queue:often_queue_paused:max{{{CHOSEN}}}", "bool_yes_no"),
            },
            width=24,
            links={"queue": ("Tasks in the console", "${console}/tasks?queue=${__value.text}")},
        ),
        lines(
            "How many tasks wait, by priority?",
            "Tasks that could run now; 9 is the highest priority, and `rescued` are tasks whose worker "
            "died. The leading scheduler reports this, so a gap means that none leads.",
            Query(
                or_zero(f"sum by (queue, priority) (often_queue_depth{{{CHOSEN}}}) > 0"),
                "{{queue}} {{priority}}",
            ),
            unit="short",
            stacked=True,
            leads=CONSOLE,
        ),
        lines(
            "How long has the first task waited?",
            "The red line is the shortest objective of the chosen queues.",
            Query(f"queue:often_queue_oldest_age_seconds:max{{{CHOSEN}}}", "{{queue}}"),
            unit="s",
            limit=f"min(queue:often_objective_wait_seconds:max{{{CHOSEN}}})",
        ),
        lines(
            "How long do tasks wait?",
            "Time from the moment a task could run to its start, over five minutes.",
            *quantiles(f"queue_task_le:often_task_wait_seconds_bucket:rate5m{{{CHOSEN}}}"),
            unit="s",
            limit=f"min(queue:often_objective_wait_seconds:max{{{CHOSEN}}})",
        ),
        lines(
            "How fast do tasks arrive and start?",
            "Tasks per second. If more come in than go out for long, add workers.",
            Query(f"sum(queue_task:often_tasks_submitted:rate1m{{{CHOSEN}}})", "in"),
            Query(f"sum(queue_task:often_tasks_started:rate1m{{{CHOSEN}}})", "out"),
            unit="cps",
        ),
        lines(
            "Which tasks have been running longest?",
            "How long the oldest attempt of each kind has been running. If that is far above the usual "
            "time, the task hangs.",
            Query(
                or_zero(f"max by (task) (queue_task:often_task_longest_running_seconds:max{{{CHOSEN}}})"),
                "{{task}}",
            ),
            unit="s",
            leads=link("Running tasks in the console", "${console}/tasks?status=started"),
        ),
        lines(
            "How many tasks start too late?",
            "Share of attempts that started later than their queue's objective, over 30 minutes.",
            Query(or_zero(f"queue:often_starts_bad:ratio30m{{{CHOSEN}}}"), "{{queue}}"),
            unit="percentunit",
            limit=f"6 * (1 - min(queue:often_objective_start:ratio{{{CHOSEN}}}))",
        ),
        lines(
            "Which tasks expired?",
            "Tasks whose deadline passed while they waited, within an hour.",
            Query(
                or_zero(f"sum by (task) (increase(often_tasks_expired_total{{{CHOSEN}}}[1h])) > 0"),
                "{{task}}",
            ),
            unit="short",
            width=12,
        ),
        lines(
            "Why does the scheduler send tasks to Redis?",
            "Tasks per second. `due` is normal. Any other reason means that Redis had lost them, and they "
            "are sent again.",
            Query("sum by (reason) (rate(often_dispatcher_sent_total[1m]))", "{{reason}}"),
            unit="cps",
            width=12,
        ),
    ]
