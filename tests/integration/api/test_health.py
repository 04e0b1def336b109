"""Tests of the health report, which shows operators what is wrong now, even while servers are
unavailable.
"""

from typing import Any
from uuid import UUID

import pytest

from services.api.operations import health
from tests.integration.api.conftest import Person

CHECK = {"name": "system.health_check", "params": {}}
WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, started_at, heartbeat_at, dead_at)
    VALUES (gen_random_uuid(), 'w1', 7, '{maintenance}', 1, 1, now(), now() - interval '9 s', NULL)
"""

ERROR = """
    INSERT INTO error_group (fingerprint, name, kind, message, first_at, last_at, first_release, last_release,
                             sample_task, state, until)
    VALUES ($1, $2, 'bug', 'no', now() - make_interval(mins => $3), now(), '1', '1', gen_random_uuid(), $4,
            CASE WHEN $4 = 'muted' THEN now() + interval '1 h' END)
"""
SUCCEEDED = """
    INSERT INTO task_minute (minute, queue, name, outcome, n, wait_s, run_s, max_run_s, wait_hist, run_hist)
    VALUES (date_trunc('minute', now()), 'default', $1, 'success', 1, 0, 0, 0, '{}', '{}')
"""
BULK = """
    INSERT INTO bulk_act (id, task, kind, action, filter, given, actor, expected, exact, until, cursor,
                          not_before)
    SELECT id, id, 'task', 'retry', '{}', '{}', 1, 3, true, id, id, now() - make_interval(secs => $2)
    FROM task WHERE id = $1
"""
PARK = "UPDATE task SET wait_reason = 'no worker knows it yet' WHERE send_at > now() + interval '30 s'"


def lines(answer: dict[str, Any]) -> dict[tuple[str, str | None], dict[str, Any]]:
    """The problems in a health report, by their code and the name of their target."""
    return {(p["code"], p["target"] and p["target"]["name"]): p for p in answer["problems"]}


@pytest.fixture
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the API assess the system's health for each request.

    Normally, requests within a moment share one report.
    """
    monkeypatch.setattr(health, "FRESH_S", 0)


@pytest.mark.usefixtures("always_fresh")
async def test_each_problem_comes_with_its_remedy(administrator: Person, database: Any) -> None:
    before = (await administrator.get("operations/health")).json()
    assert ("no-leader", None) in lines(before)
    assert (before["verdict"], before["unknown"]) == ("critical", [])
    assert before["servers"]["postgres"]["connections"] > 0
    assert before["servers"]["redis"]["memory_bytes"] > 0

    await administrator.post("tasks", {**CHECK, "delay_s": 60})
    await database.execute(PARK)
    await administrator.post("tasks", CHECK)
    await administrator.post("queues/maintenance/pause", {"reason": "disk replacement"})
    await database.execute(WORKER)
    after = lines((await administrator.get("operations/health")).json())
    new = {key: problem for key, problem in after.items() if key not in lines(before)}
    assert {(code, new[code, target]["severity"]) for code, target in new} >= {
        ("queue-unserved", "critical"), ("worker-silent", "warning"), ("tasks-parked", "warning"),
        ("queue-paused", "notice"),
    }  # fmt: skip
    unserved = new["queue-unserved", "default"]
    assert unserved["link"] == "/api/v1/queues/default"
    assert unserved["remedy"] == "Start a worker that serves it: name it in OFTEN_WORKER_QUEUES."


@pytest.mark.usefixtures("always_fresh")
async def test_new_and_returned_errors_and_bulk_acts_that_stand_still_are_said(
    administrator: Person, database: Any
) -> None:
    await database.execute(SUCCEEDED, "system.works")
    for fingerprint, name, age_min, state in (
        ("v2:new", "system.works", 59, "open"),
        ("v2:old", "system.works", 61, "open"),
        ("v2:muted", "system.works", 1, "muted"),
        ("v2:never_worked", "system.fails", 1, "open"),
        ("v2:back", "system.fails", 5_000, "regressed"),
    ):
        await database.execute(ERROR, fingerprint, name, age_min, state)
    acts = [(await administrator.post("tasks", CHECK)).json()["task_id"] for _ in range(2)]
    for act, idle_s in zip(acts, (400.0, 200.0), strict=True):
        await database.execute(BULK, UUID(act), idle_s)
    answer = (await administrator.get("operations/health")).json()
    targets = {each["target"]["name"]: each for each in answer["problems"] if each["target"]}
    assert targets["v2:new"]["severity"] == "notice"
    assert targets["v2:back"]["severity"] == "warning"
    assert targets[acts[0]]["link"] == f"/api/v1/bulk/{acts[0]}"
    assert targets.keys().isdisjoint({"v2:old", "v2:muted", "v2:never_worked", acts[1]})


async def test_open_consoles_share_one_answer(administrator: Person) -> None:
    first = (await administrator.get("operations/health")).json()
    assert (await administrator.get("operations/health")).json()["checked_at"] == first["checked_at"]
