"""Tests of the routes by which operators see queues, pause them and resume them."""

from typing import Any

import pytest

from tests.integration.api.conftest import Client, Person

CHECK = {"name": "system.health_check", "params": {}}


async def test_a_queue_shows_what_waits_and_since_when_it_is_paused(
    administrator: Person, database: Any
) -> None:
    for priority in (5, 5, 9):
        await administrator.post("tasks", {**CHECK, "priority": priority})
    await administrator.post("tasks", {**CHECK, "delay_s": 3600})
    before = (await administrator.get("queues/default")).json()
    assert (before["waiting"], before["depth"]["5"], before["depth"]["9"]) == (3, 2, 1)
    assert (before["due_later"], before["workers"], before["paused"]) == (1, 0, None)

    await administrator.post("queues/default/pause", {"reason": "too much"})

    [queue] = [q for q in (await administrator.get("queues")).json()["items"] if q["queue"] == "default"]
    assert (queue["paused"]["by"], queue["paused"]["reason"]) == (administrator.id, "too much")
    assert queue["waiting"] == 3
    # Make all tasks but the delayed one look sent, so that only the pause holds them up.
    await database.execute("UPDATE task SET send_at = NULL, sent_at = now() WHERE send_at < now() + '1 min'")
    tasks = (await administrator.get("tasks")).json()["items"]
    assert [task["wait_reason"] for task in tasks] == [None, *["the queue default is paused"] * 3]


async def test_a_pause_says_what_will_expire(administrator: Person, database: Any) -> None:
    for seconds in (60, 30):
        await administrator.post("tasks", CHECK)
        await database.execute(
            "UPDATE task SET expires_at = now() + make_interval(secs => $1) WHERE expires_at IS NULL",
            float(seconds),
        )
    await administrator.post("tasks", CHECK)
    paused = (await administrator.post("queues/default/pause", {"reason": "too much"})).json()
    first = await database.fetchval("SELECT min(expires_at) FROM task")
    assert paused["expiring"] == 2
    assert paused["first_expires_at"] == first.isoformat().replace("+00:00", "Z")


async def test_a_second_pause_keeps_the_time_and_a_second_resume_records_nothing(
    administrator: Person, database: Any
) -> None:
    first = (await administrator.post("queues/default/pause", {"reason": "one"})).json()["paused"]
    second = (await administrator.post("queues/default/pause", {"reason": "two"})).json()["paused"]
    assert (second["since"], second["reason"]) == (first["since"], "two")
    assert (await administrator.post("queues/default/resume", {})).json()["paused"] == second
    assert (await administrator.post("queues/default/resume", {})).json()["paused"] is None
    rows = await database.fetch(
        "SELECT action, target, reason FROM audit WHERE target_kind = 'queue' ORDER BY id"
    )
    assert [tuple(row) for row in rows] == [
        ("queue.paused", "default", "one"),
        ("queue.paused", "default", "two"),
        ("queue.resumed", "default", None),
    ]


@pytest.mark.parametrize(
    ("queue", "status", "kind"),
    [("nowhere", 404, "queue-not-found"), ("operations", 409, "queue-never-paused")],
)
async def test_a_queue_that_cannot_be_paused_is_refused(
    administrator: Person, client: Client, queue: str, status: int, kind: str
) -> None:
    answer = await administrator.post(f"queues/{queue}/pause", {"reason": "a try"})
    assert answer.status_code == status
    assert answer.json()["type"] == f"urn:often:problem:{kind}"
