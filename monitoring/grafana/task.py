"""Defines the Grafana dashboard "Kind of task": how does each kind of task perform, and what is
wrong with it?
"""

from monitoring.grafana.panels import Column, PanelBuilder, Query, lines, link, listing, or_zero, quantiles

TITLE = "Kind of task"
QUESTION = "How does each kind of task fare, and what is wrong with one?"
CHOICES = ("task",)

CHOSEN = 'task=~"$task"'


def panels() -> list[PanelBuilder]:
    return [
        listing(
            "How does each kind of task do?",
            "The last hour. Refused: an outside service declined, which is not our failure. Times are p95 "
            "over five minutes. Burn is the pace at which the error budget is used up; at 1 it lasts "
            "exactly 30 days.",
            "task",
            {
                "ended": Column(
                    "3600 * (queue_task:often_tasks_good:rate1h + queue_task:often_tasks_bad:rate1h)", "short"
                ),
                "failed": Column("queue_task:often_tasks_bad:ratio1h", "percentunit"),
                "refused": Column(
                    'sum by (queue, task) (increase(often_tasks_failed_total{kind="refused"}[1h]))', "short"
                ),
                "wait": Column(_p95("queue_task_le:often_task_wait_seconds_bucket:rate5m"), "s"),
                "run": Column(_p95("queue_task_le:often_task_run_seconds_bucket:rate5m"), "s"),
                "running": Column("queue_task:often_tasks_running:sum", "short"),
                "burn": Column(
                    "queue_task:often_tasks_bad:ratio1h"
                    " / on (queue, task) (1 - sum by (queue, task) (task:often_objective_success:ratio))",
                    "short",
                ),
            },
            width=24,
            height=12,
            links={
                "task": ("Failures in the console", "${console}/tasks?status=failure&name=${__value.text}")
            },
        ),
        lines(
            "How do attempts end?",
            "Attempts per second. After `retry` another attempt follows; `given_back` means that a drain "
            "cut the attempt short.",
            Query(
                f"sum by (outcome) (queue_task_outcome:often_tasks_finished:rate1m{{{CHOSEN}}})",
                "{{outcome}}",
            ),
            unit="cps",
            stacked=True,
            leads=link("Tasks in the console", "${console}/tasks?name=${task}"),
        ),
        lines(
            "What share of tasks fails for good?",
            "Over an hour, without refusals. At the red line, someone is paged.",
            Query(or_zero(f"queue_task:often_tasks_bad:ratio1h{{{CHOSEN}}}"), "{{task}}"),
            unit="percentunit",
            limit=f"14.4 * (1 - min(task:often_objective_success:ratio{{{CHOSEN}}}))",
            leads=link("Failures in the console", "${console}/tasks?status=failure&name=${task}"),
        ),
        lines(
            "Which kinds of errors occur?",
            "Tasks that failed for good, and attempts that are retried, per minute. `bug` is a mistake in "
            "our code, `expected` an outside service, `permanent` bad input or a bad key, `refused` a "
            "declined card.",
            Query(
                or_zero(f"60 * sum by (kind) (rate(often_tasks_failed_total{{{CHOSEN}}}[5m]))"),
                "failed: {{kind}}",
            ),
            Query(
                or_zero(f"60 * sum by (kind) (rate(often_tasks_retried_total{{{CHOSEN}}}[5m]))"),
                "retried: {{kind}}",
            ),
            unit="short",
        ),
        lines(
            "How long do tasks wait?",
            "Time from the moment a task could run to its start.",
            *quantiles(f"queue_task_le:often_task_wait_seconds_bucket:rate5m{{{CHOSEN}}}"),
            unit="s",
        ),
        lines(
            "How long do attempts run?",
            "Time from the start of an attempt to its end. A jump means that a service it calls has "
            "become slow. The red line is the objective, if there is one.",
            *quantiles(f"queue_task_le:often_task_run_seconds_bucket:rate5m{{{CHOSEN}}}"),
            unit="s",
            limit=f"min(task:often_objective_run_seconds:max{{{CHOSEN}}})",
        ),
        lines(
            "Which tasks have been running longest?",
            "How long the oldest attempt of each kind has been running.",
            Query(
                or_zero(f"max by (task) (queue_task:often_task_longest_running_seconds:max{{{CHOSEN}}})"),
                "{{task}}",
            ),
            unit="s",
            leads=link("Running tasks in the console", "${console}/tasks?status=started&name=${task}"),
        ),
        lines(
            "How many causes of failures are open?",
            "Groups of errors, over all kinds of tasks. Open: nobody has decided anything about them. "
            "Regressed: they were resolved and have come back in a newer release.",
            Query(
                'max by (state) (often_error_groups{state=~"open|acknowledged|regressed"})',
                "{{state}}",
            ),
            unit="short",
            width=24,
            leads=link("Errors in the console", "${console}/errors"),
        ),
        lines(
            "Which tasks killed their worker?",
            "Attempts whose process died within 15 minutes. `failure`: the task killed three processes "
            "while it ran alone, and was given up.",
            Query(
                or_zero(f"sum by (task, verdict) (increase(often_tasks_crashed_total{{{CHOSEN}}}[15m])) > 0"),
                "{{task}} {{verdict}}",
            ),
            unit="short",
            width=12,
        ),
        lines(
            "Which tasks does no worker know?",
            "Tasks that wait for a worker of another release. This may last a few minutes, during a deploy.",
            Query(or_zero("max by (task) (often_tasks_parked)"), "{{task}}"),
            unit="short",
            width=12,
        ),
    ]


def _p95(buckets: str) -> str:
    return f"histogram_quantile(0.95, sum by (queue, task, le) ({buckets}))"
