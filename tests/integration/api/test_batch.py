"""Tests of batches, which submit many tasks in one request: either all of them are stored,
or none.
"""

from typing import Any

import redis

from services.api.tasks.submissions import MOST_PROBLEMS
from tests.integration.api.conftest import Person

CHECK = {"name": "system.health_check", "params": {}}


async def test_ten_thousand_tasks_are_stored_in_order_and_pushed(
    administrator: Person, database: Any, redis_url: str
) -> None:
    tasks = [{**CHECK, "priority": number % 10} for number in range(10_000)]

    answer = await administrator.post("tasks/batch", {"tasks": tasks})

    assert answer.status_code == 202
    rows = await database.fetch("SELECT id, priority, owner FROM task ORDER BY id")
    assert [str(row["id"]) for row in rows] == answer.json()["task_ids"]
    assert [row["priority"] for row in rows] == [task["priority"] for task in tasks]
    assert {row["owner"] for row in rows} == {administrator.id}
    with redis.Redis.from_url(redis_url) as lanes:
        assert lanes.llen("often:lane:default:7") == 1_000


async def test_every_bad_item_is_named_by_its_index_and_nothing_is_stored(
    guest: Person, database: Any
) -> None:
    answer = await guest.post(
        "tasks/batch",
        {
            "tasks": [
                CHECK,
                {"name": "no.such_task", "params": {}},
                {**CHECK, "params": {"x": 1}},
                "not an object",
                {**CHECK, "priority": 10},
                {**CHECK, "delay_s": 1, "run_at": "2020-01-01T00:00:00Z"},
                {"name": "sample.greet", "params": {"user_id": guest.id, "text": "a NUL \x00"}},
            ]
        },
    )
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [
        "tasks[1].name",
        "tasks[2].params.x",
        "tasks[3]",
        "tasks[4].priority",
        "tasks[5].run_at",
        "tasks[6].params.text",
    ]
    assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_recipients_are_checked(guest: Person, administrator: Person, database: Any) -> None:
    tasks = [{"name": "sample.greet", "params": {"user_id": user_id}} for user_id in (guest.id, 2**62)]
    for person, rule in ((guest, "must be your own id"), (administrator, "names no account")):
        answer = await person.post("tasks/batch", {"tasks": tasks})
        assert answer.status_code == 400
        assert answer.json()["errors"] == [{"field": "tasks[1].params.user_id", "rule": rule}]
    assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_an_empty_or_too_large_batch_is_refused(guest: Person) -> None:
    for tasks in ([], [CHECK] * 10_001):
        answer = await guest.post("tasks/batch", {"tasks": tasks})
        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == ["tasks"]


async def test_a_long_list_of_broken_rules_is_cut(guest: Person) -> None:
    answer = await guest.post("tasks/batch", {"tasks": [{}] * 5_000})
    errors = answer.json()["errors"]
    assert len(errors) == MOST_PROBLEMS + 1
    # Each task of the batch breaks two rules: its name and its parameters are missing.
    assert errors[-1]["rule"] == f"and {2 * 5_000 - MOST_PROBLEMS} more broken rules"


async def test_a_batch_may_be_larger_than_other_bodies_but_has_a_limit(guest: Person) -> None:
    large = {**CHECK, "expires_at": "2099-01-01T00:00:00Z" + " " * 2_000_000}
    assert (await guest.post("tasks", large)).status_code == 413
    assert (await guest.post("tasks/batch", {"tasks": [large]})).status_code == 400
    huge = {**CHECK, "expires_at": " " * 17_000_000}
    assert (await guest.post("tasks/batch", {"tasks": [huge]})).status_code == 413
