"""Who works."""

from monitoring.grafana.panels import SELECTED, Column, PanelBuilder, Query, lines, listing

OURS = 'job=~"often-.+"'


def panels() -> list[PanelBuilder]:
    return [
        listing(
            "Workers now",
            "One line each. Busy at the number of threads and tasks held: it has all it can do. Unwritten "
            "for seconds: its ledger is slow.",
            "instance",
            {
                "draining": Column('sum by (instance) (often_worker_state{state="draining"})', "short"),
                "threads": Column("sum by (instance) (often_worker_threads)", "short"),
                "busy": Column("sum by (instance) (often_worker_threads_busy)", "short"),
                "tasks held": Column("sum by (instance) (often_worker_tasks_held)", "short"),
                "unwritten": Column("sum by (instance) (often_recorder_oldest_unwritten_seconds)", "s"),
                "memory": Column(
                    'sum by (instance) (process_resident_memory_bytes{job="often-worker"})',
                    "bytes",
                ),
            },
            width=12,
        ),
        lines(
            "Workers, by state",
            "As the ledger knows them. `dead` were declared so within ten minutes: find out what ended them "
            "(runbook: workers die).",
            Query("sum by (state) (often_workers)", "{{state}}"),
            unit="short",
            width=6,
        ),
        lines(
            "Threads",
            "Busy ones beside all. All busy for long: more workers, or fewer long tasks.",
            Query("sum(often_worker_threads)", "all"),
            Query("sum(often_worker_threads_busy)", "busy"),
            unit="short",
            width=6,
        ),
        lines(
            "Running, by process",
            "Which task runs where.",
            Query(f"sum by (instance, task) (often_tasks_running{{{SELECTED}}})", "{{instance}} {{task}}"),
            unit="short",
            width=6,
            stacked=True,
        ),
        lines(
            "Memory",
            "Resident. A worker replaces itself at OFTEN_WORKER_MAX_MEMORY_MB; a saw tooth says that a task "
            "leaks.",
            Query(f"process_resident_memory_bytes{{{OURS}}}", "{{job}} {{instance}}"),
            unit="bytes",
            width=6,
        ),
        lines(
            "CPU",
            "Cores. At one a process can do no more: start another one.",
            Query(f"rate(process_cpu_seconds_total{{{OURS}}}[1m])", "{{job}} {{instance}}"),
            unit="short",
            width=6,
        ),
        lines(
            "Recorder",
            "Time until an outcome is committed, and the oldest that is not. Seconds: look for locks in "
            "Postgres (runbook: recorder lags).",
            Query(
                "histogram_quantile(0.99, sum by (le) (rate(often_recorder_lag_seconds_bucket[5m])))",
                "committed, p99",
            ),
            Query("max(often_recorder_oldest_unwritten_seconds)", "not committed"),
            unit="s",
            width=6,
        ),
        lines(
            "Given back",
            "Claims per second that ended without a start. `late` is everyday balancing, `drain` a deploy, "
            "`parked` a task that no worker knows (runbook: tasks parked).",
            Query(
                "sum by (reason) (rate(often_worker_given_back_total[5m])) or on () vector(0)", "{{reason}}"
            ),
            unit="cps",
            width=12,
        ),
        lines(
            "Cancelled",
            "Tasks cancelled within the hour while a worker held them, by what it took. `process`: the body "
            "heeded no interrupt, and its worker was replaced.",
            Query("sum by (rung) (increase(often_cancel_seconds_count[1h])) or on () vector(0)", "{{rung}}"),
            unit="short",
            width=12,
        ),
    ]
