"""Defines the Grafana dashboard "Overview": is anything wrong, and where?"""

from monitoring.grafana.panels import (
    FIRING,
    GREEN,
    ORANGE,
    RED,
    Column,
    PanelBuilder,
    Query,
    lines,
    link,
    listing,
    tile,
)

TITLE = "Overview"
QUESTION = "Is anything wrong, and where?"
CHOICES: tuple[str, ...] = ()

#: Labels by which the list of firing alerts distinguishes alerts.
NAMED = "alertname, severity, queue, task, schedule, instance"
UP_OR_AWAY = {0: ("away", RED), 1: ("up", GREEN)}
SERVERS = link("Servers", "/d/often-servers")
WORKERS = link("Workers", "/d/often-workers")


def panels() -> list[PanelBuilder]:
    return [*_now(), *_objectives(), *_flow()]


def _now() -> list[PanelBuilder]:
    return [
        tile(
            "How many alerts fire?",
            "If there are any, the table below names them. Each alert has an entry in the runbook.",
            f"count({FIRING}) or vector(0)",
            steps=[(None, GREEN), (1, RED)],
            width=4,
        ),
        tile(
            "How many workers take tasks?",
            "Workers that answer Prometheus and are neither draining nor quiet. If there are none, no "
            "task runs.",
            'count(often_worker_state{state="running"} == 1) or vector(0)',
            steps=[(None, RED), (1, GREEN)],
            width=4,
            leads=WORKERS,
        ),
        tile(
            "Does a scheduler lead?",
            "If none leads, delayed tasks, retries and schedules do not start, and tasks of dead workers "
            "are not rescued.",
            "often_scheduler_leader:sum or vector(0)",
            steps=[(None, RED), (1, GREEN)],
            named={0: ("none", RED), 1: ("leads", GREEN), 2: ("two", ORANGE)},
            width=4,
            leads=link("Schedules and scheduler", "/d/often-schedules"),
        ),
        tile(
            "Does the API answer?",
            "Number of API processes that answer Prometheus.",
            'count(up{job="often-api"} == 1) or vector(0)',
            steps=[(None, RED), (1, GREEN)],
            width=4,
            leads=SERVERS,
        ),
        tile(
            "Is Postgres up?",
            "Whether Postgres answers a scheduler. While it is away, no task is accepted or run.",
            'server:often_server_up:max{server="postgres"}',
            steps=[(None, RED), (1, GREEN)],
            named=UP_OR_AWAY,
            width=4,
            leads=SERVERS,
        ),
        tile(
            "Is Redis up?",
            "Whether Redis answers a scheduler. While it is away, tasks are accepted and wait.",
            'server:often_server_up:max{server="redis"}',
            steps=[(None, RED), (1, GREEN)],
            named=UP_OR_AWAY,
            width=4,
            leads=SERVERS,
        ),
    ]


def _objectives() -> list[PanelBuilder]:
    return [
        listing(
            "Which alerts fire?",
            "Seconds since the condition of each alert began to hold.",
            "alertname",
            {
                "for": Column(
                    f"time() - min by ({NAMED}) (ALERTS_FOR_STATE)"
                    f" and on ({NAMED}) max by ({NAMED}) ({FIRING})"
                    f" or on () label_replace(vector(0), 'alertname', 'none', '', '') unless on () {FIRING}",
                    "s",
                )
            },
            width=12,
        ),
        listing(
            "Which objectives are met?",
            "Over 30 days: what was promised, what was kept, and how much of the error budget is left. "
            "Burn is the pace of the last five minutes; at 1 the budget lasts exactly 30 days.",
            "objective",
            {
                "promised": Column("objective:often_objective:ratio", "percentunit"),
                "kept": Column("objective:often_met:ratio30d", "percentunit"),
                "budget left": Column("objective:often_budget_left:ratio30d", "percentunit"),
                "burn": Column(
                    "objective:often_bad_events:rate5m / (objective:often_events:rate5m > 0)"
                    " / (1 - objective:often_objective:ratio)",
                    "short",
                ),
            },
            width=12,
        ),
        listing(
            "Which kinds of task fail most?",
            "The ten kinds with the largest share of tasks that failed for good within an hour. Refusals, "
            "such as declined cards, do not count.",
            "task",
            {"failed": Column("topk(10, queue_task:often_tasks_bad:ratio1h)", "percentunit")},
            width=8,
            links={"task": ("Kind of task", "/d/often-task?var-task=${__value.text}")},
        ),
        listing(
            "In which queues do tasks wait longest?",
            "How long the task at the head of each queue has waited, and the queue's objective.",
            "queue",
            {
                "oldest": Column("queue:often_queue_oldest_age_seconds:max", "s"),
                "objective": Column("queue:often_objective_wait_seconds:max", "s"),
                "waiting": Column("queue:often_queue_depth:sum", "short"),
            },
            width=8,
            links={"queue": ("Queue", "/d/often-queue?var-queue=${__value.text}")},
        ),
        listing(
            "Which schedules have had no success?",
            "Time since the first nominal time for which nothing has succeeded. Above the limit, an alert "
            "fires.",
            "schedule",
            {
                "without success": Column("max by (schedule) (often_schedule_unsuccessful_seconds)", "s"),
                "limit": Column("max by (schedule) (often_schedule_unsuccessful_limit_seconds)", "s"),
            },
            width=8,
            links={"schedule": ("Console", "${console}/schedules?name=${__value.text}")},
        ),
    ]


def _flow() -> list[PanelBuilder]:
    return [
        lines(
            "Are tasks accepted, started and ended?",
            "Tasks per second. If more are accepted than started for long, the queues grow.",
            Query("sum(queue_task:often_tasks_submitted:rate1m)", "accepted"),
            Query("sum(queue_task:often_tasks_started:rate1m)", "started"),
            Query('sum(queue_task_outcome:often_tasks_finished:rate1m{outcome="success"})', "succeeded"),
            Query("sum(queue_task:often_tasks_bad:rate5m)", "failed"),
            unit="cps",
            width=12,
            leads=link("Tasks in the console", "${console}/tasks"),
        ),
        lines(
            "What share of API requests fails?",
            "Share of answers with a 5xx status, over five minutes. At the red line, the error budget of "
            "30 days would be used up within two days.",
            Query("often_http_errors:ratio5m or vector(0)", "5xx"),
            unit="percentunit",
            width=12,
            limit=0.0144,
            leads=SERVERS,
        ),
    ]
