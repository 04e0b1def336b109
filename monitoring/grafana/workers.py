"""Defines the Grafana dashboard "Workers": which workers run, on which host and release, and how
well?
"""

from monitoring.grafana.panels import Column, PanelBuilder, Query, lines, link, listing, or_zero

TITLE = "Workers"
QUESTION = "Who works, on which host and release, and how well?"
CHOICES: tuple[str, ...] = ()

OURS = 'job=~"often-.+"'
CONSOLE = link("Workers in the console", "${console}/workers")
#: PromQL that is appended to a query by instance. It adds the worker's host and release as labels.
NAMED = "* on (instance) group_left (host, release) max by (instance, host, release) (often_worker_info)"


def panels() -> list[PanelBuilder]:
    return [
        listing(
            "What is the state of each worker?",
            "If all threads are busy, the worker can do no more. If records stay unwritten for seconds, "
            "Postgres is slow.",
            "instance",
            {
                "threads": Column(f"sum by (instance) (often_worker_threads) {NAMED}", "short"),
                "busy": Column(f"sum by (instance) (often_worker_threads_busy) {NAMED}", "short"),
                "held": Column(f"sum by (instance) (often_worker_tasks_held) {NAMED}", "short"),
                "processed in 1 h": Column(
                    f"sum by (instance) (increase(often_tasks_finished_total[1h])) {NAMED}", "short"
                ),
                "failed in 1 h": Column(
                    "sum by (instance)"
                    f' (increase(often_tasks_finished_total{{outcome="failure"}}[1h])) {NAMED}',
                    "short",
                ),
                "memory": Column(
                    f'sum by (instance) (process_resident_memory_bytes{{job="often-worker"}}) {NAMED}',
                    "bytes",
                ),
                "unwritten": Column(
                    f"sum by (instance) (often_recorder_oldest_unwritten_seconds) {NAMED}", "s"
                ),
                "draining": Column(
                    f'sum by (instance) (often_worker_state{{state="draining"}}) {NAMED}', "bool_yes_no"
                ),
            },
            width=24,
            links={"instance": ("Workers in the console", "${console}/workers")},
        ),
        lines(
            "How many workers are there, by state?",
            "Workers as the ledger knows them. `dead` workers were declared dead within ten minutes.",
            Query("sum by (state) (often_workers)", "{{state}}"),
            unit="short",
            leads=CONSOLE,
        ),
        lines(
            "How many threads are busy?",
            "If all threads are busy for long, add workers, or make long tasks shorter.",
            Query("sum(often_worker_threads_busy)", "busy"),
            unit="short",
            limit="sum(often_worker_threads)",
        ),
        lines(
            "Which queues have workers?",
            "Number of workers that fetch from each queue. If there are none, OFTEN_WORKER_QUEUES leaves "
            "the queue out, or its workers are gone.",
            Query("queue:often_worker_serves:sum", "{{queue}}"),
            unit="short",
        ),
        lines(
            "How much memory do processes use?",
            "Resident memory. A worker replaces itself at OFTEN_WORKER_MAX_MEMORY_MB; a sawtooth means "
            "that a task leaks.",
            Query(f"process_resident_memory_bytes{{{OURS}}}", "{{job}} {{instance}}"),
            unit="bytes",
        ),
        lines(
            "How much processor time do processes use?",
            "Cores. At one, a process can do no more, so start another one.",
            Query(f"rate(process_cpu_seconds_total{{{OURS}}}[1m])", "{{job}} {{instance}}"),
            unit="short",
            limit=1,
        ),
        lines(
            "Why were workers replaced?",
            "Within an hour, by reason. `memory`: they used too much memory. `overtime`: a task function "
            "did not end. `dead`: they were declared dead and came back.",
            Query(or_zero("sum by (reason) (increase(often_worker_replaced_total[1h])) > 0"), "{{reason}}"),
            Query(or_zero("sum(increase(often_worker_isolated_total[1h]))"), "ran a suspect alone"),
            unit="short",
        ),
        lines(
            "How old is the oldest outcome that is not written?",
            "Also shows the time until outcomes are committed. The red line is the objective.",
            Query(
                "histogram_quantile(0.99, sum by (le) (rate(often_recorder_lag_seconds_bucket[5m])))",
                "committed, p99",
            ),
            Query("max(often_recorder_oldest_unwritten_seconds)", "not committed"),
            unit="s",
            limit=10,
        ),
        lines(
            "Why are claims given back?",
            "Claims per second that end without a start. `late` is normal balancing, `drain` a deploy, "
            "and `parked` a task that no worker knows.",
            Query(or_zero("sum by (reason) (rate(often_worker_given_back_total[5m]))"), "{{reason}}"),
            unit="cps",
        ),
        lines(
            "What was needed to cancel tasks?",
            "Tasks that were canceled within an hour while a worker held them. `process`: the task "
            "function ignored its interrupt, so its worker was replaced.",
            Query(or_zero("sum by (rung) (increase(often_cancel_seconds_count[1h]))"), "{{rung}}"),
            unit="short",
        ),
        lines(
            "Which releases run?",
            "Processes by release. Two releases for long mean that a deploy has stopped halfway.",
            Query("count by (release) (often_build_info)", "{{release}}"),
            unit="short",
            width=12,
            stacked=True,
        ),
        lines(
            "Are the clocks right?",
            "Clock of Postgres minus the clock of the process. Above the red line, an alert fires.",
            Query("abs(often_clock_offset_seconds)", "{{job}} {{instance}}"),
            unit="s",
            width=12,
            limit=5,
        ),
    ]
