"""What fires by the clock."""

from monitoring.grafana.panels import Column, PanelBuilder, Query, lines, listing

#: Grafana reads moments in milliseconds.
MS = 1000


def panels() -> list[PanelBuilder]:
    return [
        listing(
            "Schedules",
            "Overdue: a leader is there and does not fire it (runbook: schedule overdue). Failures in a row: "
            "its tasks fail (runbook: schedule fails). Last success is looked for among the last ten "
            "firings.",
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
            },
            width=12,
        ),
        lines(
            "Fired, by outcome",
            "Nominal times within the hour. `failed` and `skipped_misfire` have their reason in the list of "
            "firings.",
            Query(
                "sum by (schedule, outcome) (increase(often_schedule_fired_total[1h]))",
                "{{schedule}} {{outcome}}",
            ),
            unit="short",
            width=6,
        ),
        lines(
            "Lag",
            "From a nominal time to the submission of its task, p95 over ten minutes. Above a second: the "
            "leader is busy, or there was none.",
            Query(
                "histogram_quantile(0.95, sum by (le) (rate(often_schedule_lag_seconds_bucket[10m])))", "p95"
            ),
            unit="s",
            width=6,
        ),
    ]
