"""Defines the Grafana dashboard "Schedules and scheduler": does everything fire in time and
succeed?
"""

from monitoring.grafana.panels import GREEN, RED, Column, PanelBuilder, Query, lines, link, listing, tile

TITLE = "Schedules and scheduler"
QUESTION = "Does everything fire in time and succeed?"
CHOICES: tuple[str, ...] = ()

#: Milliseconds per second. Grafana expects timestamps in milliseconds.
MS = 1000
CONSOLE = "${console}/schedules"


def panels() -> list[PanelBuilder]:
    return [
        tile(
            "Does one scheduler lead?",
            "If none leads, delayed tasks, retries and schedules do not start, and tasks of dead workers "
            "are not rescued. Two leaders for a moment do no harm.",
            "often_scheduler_leader:sum or vector(0)",
            steps=[(None, RED), (1, GREEN)],
            width=6,
        ),
        tile(
            "Does another scheduler stand by?",
            "Schedulers that answer Prometheus, including the leader. Below two, none would take over if "
            "the leader died.",
            'count(up{job="often-scheduler"} == 1) or vector(0)',
            steps=[(None, RED), (2, GREEN)],
            width=6,
        ),
        tile(
            "How late is the latest schedule?",
            "Time since the schedule should have fired. A leader fires it within half a second.",
            "max(often_schedule_overdue_seconds) or vector(0)",
            steps=[(None, GREEN), (60, RED)],
            unit="s",
            width=6,
        ),
        tile(
            "For how many days ahead are there partitions?",
            "Days after today. On a day without a partition, no task can be stored.",
            "min(often_ledger_days_ahead)",
            steps=[(None, RED), (4, GREEN)],
            width=6,
        ),
        listing(
            "What is the state of each schedule?",
            "Without success: time since the first nominal time for which nothing has succeeded.",
            "schedule",
            {
                "next": Column(
                    f"max by (schedule) (often_schedule_next_fire_timestamp_seconds) * {MS}",
                    "dateTimeFromNow",
                ),
                "overdue": Column("max by (schedule) (often_schedule_overdue_seconds)", "s"),
                "last success": Column(
                    f"max by (schedule) (often_schedule_last_success_timestamp_seconds) * {MS}",
                    "dateTimeFromNow",
                ),
                "failures in a row": Column("max by (schedule) (often_schedule_failures_in_a_row)", "short"),
                "without success": Column("max by (schedule) (often_schedule_unsuccessful_seconds)", "s"),
                "limit": Column("max by (schedule) (often_schedule_unsuccessful_limit_seconds)", "s"),
            },
            width=24,
            links={"schedule": ("Console", CONSOLE)},
        ),
        lines(
            "What happened at the nominal times?",
            "Within an hour. The list of firings gives the reason for `failed` and `skipped`.",
            Query(
                "sum by (schedule, outcome) (increase(often_schedule_fired_total[1h])) > 0"
                " or sum by (schedule) (0 * often_schedule_fired_total)",
                "{{schedule}} {{outcome}}",
            ),
            unit="short",
            width=12,
            leads=link("Schedules in the console", CONSOLE),
        ),
        lines(
            "How late do schedules fire?",
            "Time from a nominal time to the submission of its task, over ten minutes. The red line is "
            "the objective.",
            Query(
                "histogram_quantile(0.95, sum by (le) (rate(often_schedule_lag_seconds_bucket[10m])))", "p95"
            ),
            unit="s",
            width=12,
            limit=60,
        ),
        lines(
            "Do workflows advance?",
            "How long the oldest end of a task has waited to advance its workflow. If this takes seconds, "
            "the leading scheduler hangs.",
            Query("max(often_workflow_event_oldest_seconds)", "oldest event"),
            unit="s",
            limit=5,
        ),
        lines(
            "How many workflows are open?",
            "Workflows that have not ended.",
            Query("max(often_workflows_open)", "open"),
            unit="short",
        ),
        lines(
            "What did the platform repair on its own?",
            "Within 15 minutes: workers that were declared dead, and records that were refused because "
            "they came too late. Nothing is left to repair, but find out why it was necessary.",
            Query("sum(increase(often_rescuer_workers_declared_dead_total[15m]))", "workers declared dead"),
            Query('sum(increase(often_recorder_rows_total{verdict="refused"}[15m]))', "records refused"),
            unit="short",
        ),
    ]
