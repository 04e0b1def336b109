"""Tests what readers see of tasks (fields, attempts, pages), and what is hidden from them."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.eventually import eventually
from tests.integration.api.conftest import Person, SignUp

HEALTH_CHECK = {"name": "system.health_check", "params": {}}


async def _submit(person: Person) -> str:
    answer = await person.post("tasks", HEALTH_CHECK)
    return str(answer.json()["task_id"])


async def _greet(person: Person) -> str:
    answer = await person.post("tasks", {"name": "sample.greet", "params": {"user_id": person.id}})
    return str(answer.json()["task_id"])


async def test_the_tasks_of_others_look_like_unknown_ones(guest: Person, sign_up: SignUp) -> None:
    task_id, unknown = await _submit(await sign_up()), str(uuid4())
    guest.headers["X-Request-Id"] = "one-for-all"

    async def answers(of: str) -> list[tuple[int, str]]:
        got = [
            await guest.get(f"tasks/{of}"),
            await guest.get(f"tasks/{of}/attempts"),
            await guest.delete(f"tasks/{of}"),
        ]
        return [(answer.status_code, answer.text.replace(of, "")) for answer in got]

    assert await answers(task_id) == await answers(unknown)
    assert {status for status, _ in await answers(task_id)} == {404}
    assert (await guest.get("tasks")).json()["items"] == []


async def test_an_administrator_sees_every_task(administrator: Person, guest: Person) -> None:
    task_id = await _submit(guest)
    assert (await administrator.get(f"tasks/{task_id}")).json()["owner"] == guest.id
    assert [item["id"] for item in (await administrator.get("tasks")).json()["items"]] == [task_id]


async def test_pages_hold_every_task_once_newest_first(guest: Person) -> None:
    submitted = [await _submit(guest) for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await guest.get("tasks", limit=2, **cursor)).json()
        seen += [item["id"] for item in page["items"]]
        # A task that is submitted between two pages must not shift the following pages.
        await _submit(guest)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == submitted[::-1]


async def test_a_full_last_page_has_no_next_one(guest: Person) -> None:
    for _ in range(2):
        await _submit(guest)
    assert (await guest.get("tasks", limit=2)).json()["next_cursor"] is None


async def test_lists_are_filtered_by_status_and_name(guest: Person) -> None:
    check = await _submit(guest)
    greeting = await _greet(guest)
    await guest.delete(f"tasks/{check}")

    async def ids(**filters: str | list[str]) -> list[str]:
        return [item["id"] for item in (await guest.get("tasks", **filters)).json()["items"]]

    assert await ids(status="revoked") == [check]
    assert await ids(status=["revoked", "pending"]) == [greeting, check]
    assert await ids(status=["revoked", "success"]) == [check]
    assert await ids(status="pending") == [greeting]
    assert await ids(name="sample.greet") == [greeting]
    assert await ids(name="sample.greet", status="revoked") == []


async def test_lists_are_filtered_by_everything_else(
    administrator: Person, guest: Person, database: Any
) -> None:
    checks = [await _submit(guest), await _submit(administrator)]
    is_earlier = "SELECT created_at < now() - interval '5 ms' FROM task WHERE id = $1"
    await eventually(lambda: database.fetchval(is_earlier, UUID(checks[1])))
    greeting = await _greet(guest)
    await database.execute(
        "UPDATE task SET error_message = 'Timeout: 100% of_it' WHERE id = $1", UUID(checks[1])
    )
    created = await database.fetchval("SELECT created_at FROM task WHERE id = $1", UUID(greeting))
    just_then = (created - timedelta(milliseconds=1)).isoformat()

    async def found(**filters: Any) -> set[str]:
        answer = await administrator.get("tasks", **filters)
        return {item["id"] for item in answer.json()["items"]}

    assert await found(task_type="sample") == await found(queue="greetings") == {greeting}
    assert await found(owner=guest.id) == {checks[0], greeting}
    assert await found(error="timeout: 100%") == await found(error="of_i") == {checks[1]}
    assert await found(error="of%it") == await found(error="100_") == set()
    assert await found(created_after=just_then) == {greeting}
    assert await found(created_before=just_then) == set(checks)
    await database.execute(
        "UPDATE task SET status = 'success', completed_at = '2099-01-02T03:04Z', send_at = NULL,"
        " sent_at = NULL WHERE id = $1",
        UUID(greeting),
    )
    assert await found(completed_after="2099-01-02T03:04:00Z") == {greeting}
    assert await found(completed_after="2099-01-02T03:04:01Z") == set()
    assert await found(completed_before="2099-01-02T03:04:01Z") == {greeting}
    assert await found(completed_before="2099-01-02T03:04:00Z") == set()
    # A worker's clock may be behind the clock that generated the task's id, so the task may seem to
    # end before it was created.
    earlier = created - timedelta(seconds=10)
    await database.execute("UPDATE task SET completed_at = $2 WHERE id = $1", UUID(greeting), earlier)
    assert await found(completed_before=(created - timedelta(seconds=5)).isoformat()) == {greeting}
    assert await found(completed_before="9999-12-31T23:59:59Z") == {greeting}
    assert await found(created_after="2020-01-01T00:00:00Z", created_before="2020-01-02T00:00:00Z") == set()


async def test_a_guest_who_asks_for_the_tasks_of_another_sees_none(guest: Person, sign_up: SignUp) -> None:
    other = await sign_up()
    await _submit(other)
    assert (await guest.get("tasks", owner=other.id)).json()["items"] == []


async def test_the_summary_counts_what_the_reader_may_see(
    guest: Person, administrator: Person, database: Any
) -> None:
    ids = [await _submit(guest) for _ in range(7)]
    await _submit(administrator)  # this task belongs to another account, so the guest may not see it
    for task_id, status in zip(ids, ("success", "success", "failure", "revoked"), strict=False):
        await database.execute(
            "UPDATE task SET status = $2, completed_at = now(), send_at = NULL, sent_at = NULL WHERE id = $1",
            UUID(task_id),
            status,
        )
    mine = (await guest.get("tasks/stats/summary")).json()
    recent = [task["id"] for task in mine.pop("recent_tasks")]
    assert recent == ids[:1:-1]
    assert mine == {
        "total_tasks": 7,
        "pending_tasks": 3,
        "running_tasks": 0,
        "completed_tasks": 2,
        "failed_tasks": 1,
        "revoked_tasks": 1,
        "success_rate": 66.67,
        "exact": True,
        "since": None,
    }


async def test_a_result_is_available_once_the_task_has_ended(guest: Person, database: Any) -> None:
    task_id = await _submit(guest)
    early = await guest.get(f"tasks/{task_id}/result")
    assert (early.status_code, early.headers["Retry-After"]) == (409, "1")
    await _retried_then_done(database, task_id)
    result = (await guest.get(f"tasks/{task_id}/result")).json()
    assert (result["status"], result["result"]["status"]) == ("success", "fine")


async def test_logs_are_the_last_lines_of_a_level_and_above(guest: Person, database: Any) -> None:
    task_id = await _submit(guest)
    await _retried_then_done(database, task_id)
    await database.execute("UPDATE task_log SET level = 'error' WHERE message = 'second'")

    async def lines(**asked: Any) -> tuple[int, list[str]]:
        logs = (await guest.get(f"tasks/{task_id}/logs", **asked)).json()
        return logs["total_logs"], [line["message"] for line in logs["logs"]]

    assert await lines() == (3, ["first", "second", "again"])
    assert await lines(limit=2) == (3, ["second", "again"])
    assert await lines(level="warning") == (1, ["second"])
    assert await lines(level="critical") == (0, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("created_after", "yesterday"),
        ("created_before", "2026-11-22T12:00:00"),
        ("completed_after", "2026-11-22T12:00:00"),
        ("completed_before", "1"),
        ("owner", "0"),
        ("error", "x" * 201),
        ("error", "a\x00b"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "many"),
        ("cursor", "abc"),
        ("cursor", "é"),
        ("status", "done"),
        ("name", "a\x00b"),
        ("offset", "5"),
    ],
)
async def test_a_bad_query_parameter_is_named(guest: Person, key: str, value: str) -> None:
    answer = await guest.get("tasks", **{key: value})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == [key]


async def test_an_unknown_value_is_answered_with_the_known_ones(guest: Person) -> None:
    rule = "must be one of pending, started, success, failure, retry, revoked"
    for status in ("done", ["success", "done"]):
        answer = await guest.get("tasks", status=status)
        assert answer.json()["errors"] == [{"field": "status", "rule": rule}]


async def test_every_bad_query_parameter_is_named(guest: Person) -> None:
    answer = await guest.get("tasks", limit=1_000, status="done", owner=0)
    assert {error["field"] for error in answer.json()["errors"]} == {"limit", "status", "owner"}


async def _retried_then_done(database: Any, task_id: str) -> None:
    """Write the rows of a task whose first attempt failed and whose second attempt succeeded, as a
    worker leaves them.
    """
    worker = uuid4()
    await database.execute(
        """
        UPDATE task SET
            status = 'success', send_at = NULL, sent_at = NULL, claim = 2, attempt = 2, failures = 1,
            worker = $2, started_at = now() - interval '2 s', completed_at = now(),
            execution_time_seconds = 2, result = $3, progress_current = 30, error_traceback = 'at line 5'
        WHERE id = $1
        """,
        UUID(task_id),
        worker,
        json.dumps({"status": "fine", "task_id": task_id}),
    )
    await database.execute(
        """
        INSERT INTO task_attempt (task_id, claim, attempt, worker, started_at, ended_at, outcome, error_kind,
                                  error_message, error_traceback)
        VALUES ($1, 1, 1, $2, now() - interval '9 s', now() - interval '8 s', 'retry', 'bug', 'broken',
                'at line 5')
        """,
        UUID(task_id),
        worker,
    )
    for claim, ordinal, message in ((2, 0, "again"), (1, 1, "second"), (1, 0, "first")):
        await database.execute(
            "INSERT INTO task_log VALUES ($1, $2, $3, now(), 'info', $4)",
            UUID(task_id),
            claim,
            ordinal,
            message,
        )


async def test_a_finished_task_shows_its_result_as_json(guest: Person, database: Any) -> None:
    task_id = await _submit(guest)
    await _retried_then_done(database, task_id)
    task = (await guest.get(f"tasks/{task_id}")).json()
    assert task["id"] == task["task_id"] == task_id
    assert (task["task_name"], task["task_type"]) == ("system.health_check", "system")
    assert (task["status"], task["progress_percentage"], task["execution_time_seconds"]) == (
        "success",
        100,
        2,
    )
    assert (task["params"], task["result"]) == ({}, {"status": "fine", "task_id": task_id})
    assert task["scheduled_for"] is None


async def test_attempts_are_listed_oldest_first_with_their_logs(guest: Person, database: Any) -> None:
    task_id = await _submit(guest)
    assert (await guest.get(f"tasks/{task_id}/attempts")).json() == []
    await _retried_then_done(database, task_id)
    first, second = (await guest.get(f"tasks/{task_id}/attempts")).json()
    assert (first["attempt"], first["outcome"], first["error_message"]) == (1, "retry", "broken")
    assert [line["message"] for line in first["logs"]] == ["first", "second"]
    assert (second["attempt"], second["outcome"], second["claim"]) == (2, "success", 2)
    assert [line["message"] for line in second["logs"]] == ["again"]
    assert second["ended_at"] is not None


async def test_an_attempt_that_waits_for_its_retry_is_listed_once(guest: Person, database: Any) -> None:
    task_id = await _submit(guest)
    await _retried_then_done(database, task_id)
    await database.execute(
        "UPDATE task SET status = 'retry', completed_at = NULL, send_at = now(), attempt = 1, result = NULL"
    )
    assert [a["attempt"] for a in (await guest.get(f"tasks/{task_id}/attempts")).json()] == [1]


async def test_tracebacks_are_for_administrators(guest: Person, administrator: Person, database: Any) -> None:
    task_id = await _submit(guest)
    await _retried_then_done(database, task_id)

    async def tracebacks(reader: Person) -> list[str | None]:
        task = (await reader.get(f"tasks/{task_id}")).json()
        attempts = (await reader.get(f"tasks/{task_id}/attempts")).json()
        return [task["error_traceback"], *(attempt["error_traceback"] for attempt in attempts)]

    assert await tracebacks(guest) == [None, None, None]
    (listed,) = (await administrator.get("tasks")).json()["items"]
    assert listed["error_traceback"] is None
    assert await tracebacks(administrator) == ["at line 5"] * 3
