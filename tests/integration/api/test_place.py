"""Tests of a waiting task's place in its queue, and of the estimate of its start."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.api.tasks import place
from tests.integration.api.conftest import Person

CHECK = {"name": "system.health_check", "params": {}}
SENT = "UPDATE task SET send_at = NULL, sent_at = created_at WHERE send_at < now() + interval '1 min'"
SERVE = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (gen_random_uuid(), 'test', 1, '{default}', 1, 1)
"""
#: Inserts statistics of the queue `default`, in which two tasks per second ended in each of the
#: last five minutes.
RATE = """
    INSERT INTO task_minute (minute, queue, name, outcome, n, wait_s, run_s, max_run_s, wait_hist, run_hist)
    SELECT date_trunc('minute', now()) - make_interval(mins => m), 'default', 'x', 'success', 120, 0, 0, 0,
           '{}', '{}' FROM generate_series(1, 5) AS m
"""


async def submitted(person: Person, **options: Any) -> str:
    return str((await person.post("tasks", {**CHECK, **options})).json()["task_id"])


async def place_of(person: Person, task_id: str) -> dict[str, Any]:
    answer = await person.get(f"tasks/{task_id}/place")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_place_counts_what_is_served_before_and_predicts_the_start(
    administrator: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.execute(SERVE)
    await database.execute(RATE)
    for priority in (9, 5, 5):
        await submitted(administrator, priority=priority)
    task_id = await submitted(administrator, priority=5)
    for priority in (1, 5):
        await submitted(administrator, priority=priority)
    await database.execute(SENT)

    found = await place_of(administrator, task_id)
    assert (found["before"], found["before_is_exact"], found["causes"]) == (3, True, [])
    assert found["starts_per_s"] == 2
    ahead = datetime.fromisoformat(found["predicted_start"]) - datetime.now(UTC)
    assert timedelta(seconds=0) < ahead < timedelta(seconds=2)
    monkeypatch.setattr(place, "MAX_BEFORE", 2)
    found = await place_of(administrator, task_id)
    assert (found["before"], found["before_is_exact"], found["predicted_start"]) == (2, False, None)


async def test_a_place_says_what_else_keeps_a_task_waiting(administrator: Person, database: Any) -> None:
    task_id = await submitted(administrator, delay_s=3600)
    await database.execute("INSERT INTO queue_control (queue, paused_at) VALUES ('default', now())")
    found = await place_of(administrator, task_id)
    assert [cause["kind"] for cause in found["causes"]] == ["delayed", "paused", "unserved"]
    assert (found["before"], found["predicted_start"]) == (None, None)
    await database.execute("DELETE FROM queue_control")
    await database.execute(SERVE)
    found = await place_of(administrator, task_id)
    due = await database.fetchval("SELECT send_at FROM task WHERE id = $1", UUID(task_id))
    assert datetime.fromisoformat(found["predicted_start"]) == due
    await database.execute("UPDATE task SET status = 'started', send_at = NULL, holder = $1", uuid4())
    found = await place_of(administrator, task_id)
    assert (found["status"], found["before"], found["causes"]) == ("started", None, [])
