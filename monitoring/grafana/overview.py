"""The first row: is anything wrong?"""

from monitoring.grafana.panels import GREEN, ORANGE, RED, PanelBuilder, tile

UP_OR_AWAY = {0: ("away", RED), 1: ("up", GREEN)}


def panels() -> list[PanelBuilder]:
    return [
        tile(
            "Alerts",
            "Alerts that fire. More than none: the red lines in all panels say since when, the runbook below "
            "what to do.",
            'count(ALERTS{alertname=~"Often.+", alertstate="firing"}) or vector(0)',
            steps=[(None, GREEN), (1, RED)],
        ),
        tile(
            "Workers",
            "Processes that answer Prometheus and do not drain. None: start one (runbook: no worker).",
            'count(often_worker_state{state="running"} == 1) or vector(0)',
            steps=[(None, RED), (1, GREEN)],
        ),
        tile(
            "Tasks that fail",
            "Share of the tasks of the last ten minutes that failed for good. The row Failures says which.",
            "sum(queue_task:often_tasks_failed:increase10m)"
            " / (sum(queue_task:often_tasks_ended:increase10m) > 0) or vector(0)",
            steps=[(None, GREEN), (0.01, ORANGE), (0.05, RED)],
            unit="percentunit",
        ),
        tile(
            "Oldest waiting",
            "How long the task has waited that could run first, over all queues. The row Queues says where.",
            "max(queue:often_queue_oldest_age_seconds:max)",
            steps=[(None, GREEN), (60, ORANGE), (900, RED)],
            unit="s",
        ),
        tile(
            "Unwritten",
            "Age of the oldest record that is not in the ledger. High: look at Postgres (runbook: recorder "
            "lags).",
            "max(often_recorder_oldest_unwritten_seconds)",
            steps=[(None, GREEN), (1, ORANGE), (10, RED)],
            unit="s",
        ),
        tile(
            "Leader",
            "Schedulers that lead. None: delays, retries, schedules and rescues stand still (runbook: no "
            "leader). Two for a moment do no harm.",
            "often_scheduler_leader:sum or vector(0)",
            steps=[(None, RED), (1, GREEN)],
            named={0: ("none", RED), 1: ("leads", GREEN), 2: ("two", ORANGE)},
        ),
        tile(
            "Postgres",
            "Whether it answers a scheduler. Away: nothing is accepted or done until it is back.",
            'server:often_server_up:max{server="postgres"}',
            steps=[(None, RED), (1, GREEN)],
            named=UP_OR_AWAY,
        ),
        tile(
            "Redis",
            "Whether it answers a scheduler. Away: tasks are accepted and wait until it is back.",
            'server:often_server_up:max{server="redis"}',
            steps=[(None, RED), (1, GREEN)],
            named=UP_OR_AWAY,
        ),
    ]
