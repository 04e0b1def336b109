"""What becomes of tasks: rates, failures, waits and runs."""

from monitoring.grafana.panels import SELECTED, PanelBuilder, Query, lines, quantiles


def rates() -> list[PanelBuilder]:
    return [
        lines(
            "Submitted",
            "Tasks stored per second. More than is started for long: the queues grow.",
            Query(f"sum by (task) (queue_task:often_tasks_submitted:rate1m{{{SELECTED}}})", "{{task}}"),
            unit="cps",
        ),
        lines(
            "Started",
            "Attempts begun per second. Zero while something waits: look at the workers.",
            Query(f"sum by (task) (queue_task:often_tasks_started:rate1m{{{SELECTED}}})", "{{task}}"),
            unit="cps",
        ),
        lines(
            "Ended, by outcome",
            "Attempts ended per second. A retry is followed by another attempt; given back is what a drain "
            "cut short.",
            Query(
                f"sum by (outcome) (queue_task_outcome:often_tasks_finished:rate1m{{{SELECTED}}})",
                "{{outcome}}",
            ),
            unit="cps",
            stacked=True,
        ),
        lines(
            "In progress",
            "Attempts running now. At the number of threads: more workers would help.",
            Query(f"sum by (task) (queue_task:often_tasks_running:sum{{{SELECTED}}})", "{{task}}"),
            unit="short",
            width=12,
            stacked=True,
        ),
        lines(
            "Longest running",
            "How long the attempt has lasted that runs longest. Near its time limit it is interrupted; where "
            "it hangs, the log of its worker says.",
            Query(
                f"max by (task) (queue_task:often_task_longest_running_seconds:max{{{SELECTED}}})", "{{task}}"
            ),
            unit="s",
            width=12,
        ),
    ]


def failures() -> list[PanelBuilder]:
    return [
        lines(
            "Tasks that fail",
            "Share of tasks that failed for good, over ten minutes. Above 5 %: find the message that most of "
            "them have.",
            Query(f"queue_task:often_tasks_failed:ratio10m{{{SELECTED}}}", "{{task}}"),
            unit="percentunit",
        ),
        lines(
            "Attempts that fail",
            "Share of attempts that failed, over ten minutes. High while tasks still succeed: somebody "
            "outside is unwell.",
            Query(f"queue_task:often_attempts_failed:ratio10m{{{SELECTED}}}", "{{task}}"),
            unit="percentunit",
        ),
        lines(
            "Retries, by kind",
            "Failed attempts per second that are followed by another one. `bug` is what nobody foresaw: its "
            "traceback is in the worker's log.",
            Query(
                f"sum by (task, kind) (queue_task_kind:often_tasks_retried:rate1m{{{SELECTED}}})",
                "{{task}} {{kind}}",
            ),
            unit="cps",
        ),
        lines(
            "Crashed attempts",
            "Attempts whose process died, over 15 minutes, by what follows. `failure`: it killed three "
            "processes alone (runbook: crash loop).",
            Query(
                f"sum by (task, verdict) (increase(often_tasks_crashed_total{{{SELECTED}}}[15m]))",
                "{{task}} {{verdict}}",
            ),
            unit="short",
        ),
        lines(
            "Expired",
            "Tasks whose `expires_at` passed while they waited, over 15 minutes. Any: add workers, or ask "
            "why they wait.",
            Query(f"sum by (task) (increase(often_tasks_expired_total{{{SELECTED}}}[15m]))", "{{task}}"),
            unit="short",
        ),
        lines(
            "Repairs",
            "What the platform mended by itself, over 15 minutes: workers declared dead, records refused "
            "that arrived too late, ids that Redis lost. It is done; find out what made it necessary.",
            Query("sum(increase(often_rescuer_workers_dead_total[15m]))", "workers declared dead"),
            Query('sum(increase(often_recorder_rows_total{verdict="refused"}[15m]))', "records refused"),
            Query(
                'sum by (reason) (increase(often_dispatcher_sent_total{reason!="due"}[15m]))',
                "sent again: {{reason}}",
            ),
            unit="short",
        ),
    ]


def times() -> list[PanelBuilder]:
    return [
        lines(
            "Wait",
            "From the moment a task could run to its start. High: not enough threads, or something long "
            "holds them.",
            *quantiles("queue_task_le:often_task_wait_seconds_bucket:rate5m"),
            unit="s",
            width=6,
        ),
        lines(
            "Wait, p95 by queue",
            "Which queue waits. One alone: give it workers of its own.",
            Query(
                "histogram_quantile(0.95, sum by (queue, le)"
                f" (queue_task_le:often_task_wait_seconds_bucket:rate5m{{{SELECTED}}}))",
                "{{queue}}",
            ),
            unit="s",
            width=6,
        ),
        lines(
            "Run",
            "From the start of an attempt to its end. A jump: whoever the tasks talk to has become slow.",
            *quantiles("queue_task_le:often_task_run_seconds_bucket:rate5m"),
            unit="s",
            width=6,
        ),
        lines(
            "Run, p95 by task",
            "Which task is slow.",
            Query(
                "histogram_quantile(0.95, sum by (task, le)"
                f" (queue_task_le:often_task_run_seconds_bucket:rate5m{{{SELECTED}}}))",
                "{{task}}",
            ),
            unit="s",
            width=6,
        ),
    ]
