"""Tests of the actions of operators on single tasks."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.ledger.transitions import operate
from tests.integration.api.conftest import Person, SignUp

CHECK = {"name": "system.health_check", "params": {}}
LATER = {**CHECK, "delay_s": 3600}
FAIL = """
    UPDATE task SET status = 'failure', send_at = NULL, sent_at = NULL, claim = claim + 1, attempt = 1,
        failures = 1, started_at = now() - interval '2 s', completed_at = now(), error_kind = $2, crashes = 3
    WHERE id = $1
"""


async def submitted(person: Person, body: dict[str, Any]) -> str:
    return str((await person.post("tasks", body)).json()["task_id"])


def greeting(user_id: int, text: str = "Hello") -> dict[str, Any]:
    return {"name": "sample.greet", "params": {"user_id": user_id, "text": text}}


async def test_a_retry_with_edits_keeps_the_attempt(guest: Person, operator: Person, database: Any) -> None:
    task_id = await submitted(guest, greeting(guest.id))
    await database.execute(FAIL, UUID(task_id), "bug")
    edits = {
        "params": {"user_id": guest.id, "text": "Good day"},
        "queue": "default",
        "priority": 9,
        "delay_s": 600,
        "reason": "a better text",
    }
    assert (await operator.post(f"tasks/{task_id}/retry", edits)).status_code == 202

    row = await database.fetchrow(
        "SELECT *, send_at > now() + interval '9 min' AS later FROM task WHERE id = $1", UUID(task_id)
    )
    assert (row["status"], row["queue"], row["priority"], row["later"]) == ("pending", "default", 9, True)
    assert "Good day" in row["params"]
    [attempt] = (await guest.get(f"tasks/{task_id}/attempts")).json()
    assert (attempt["attempt"], attempt["error_kind"]) == (1, "bug")
    audit = await database.fetchrow("SELECT after, reason FROM audit WHERE action = 'task.retried'")
    assert '"params": "changed"' in audit["after"]
    assert "Good day" not in audit["after"]
    assert audit["reason"] == "a better text"


@pytest.mark.parametrize(
    ("edit", "field"),
    [
        ({"params": {"user_id": "me"}}, "params.user_id"),
        ({"params": {}}, "params.user_id"),
        ({"queue": "nowhere"}, "queue"),
        ({"priority": 10}, "priority"),
        ({"delay_s": -1}, "delay_s"),
    ],
)
async def test_an_edit_that_breaks_a_rule_changes_nothing(
    guest: Person, operator: Person, database: Any, edit: dict[str, Any], field: str
) -> None:
    task_id = await submitted(guest, greeting(guest.id))
    await database.execute(FAIL, UUID(task_id), "bug")
    answer = await operator.post(f"tasks/{task_id}/retry", edit)
    assert answer.status_code == 400
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]
    assert await database.fetchval("SELECT status FROM task WHERE id = $1", UUID(task_id)) == "failure"


async def test_an_edit_reaches_no_other_account(guest: Person, operator: Person, sign_up: SignUp) -> None:
    other = await sign_up()
    task_id = await submitted(guest, {**greeting(guest.id), "delay_s": 3600})
    edit = {"params": {"user_id": other.id, "text": "Hello"}}
    assert (await operator.patch(f"tasks/{task_id}", edit)).status_code == 403
    same = {"params": {"user_id": guest.id, "text": "Hello"}}
    assert (await operator.patch(f"tasks/{task_id}", same)).status_code == 200


async def test_a_waiting_task_is_changed_and_its_earlier_id_no_longer_counts(
    guest: Person, operator: Person, database: Any
) -> None:
    task_id = await submitted(guest, LATER)
    before = await database.fetchrow("SELECT claim, revision FROM task")
    answer = await operator.patch(f"tasks/{task_id}", {"priority": 8, "queue": "maintenance"})
    assert answer.status_code == 200
    row = await database.fetchrow("SELECT * FROM task")
    assert (row["priority"], row["queue"]) == (8, "maintenance")
    assert (row["claim"], row["revision"]) == (before["claim"] + 1, before["revision"] + 1)
    audit = await database.fetchrow("SELECT before FROM audit WHERE action = 'task.changed'")
    assert audit["before"] == '{"queue": "default", "priority": 5}'


async def test_users_change_the_priority_of_their_own_tasks_only(
    guest: Person, sign_up: SignUp, database: Any
) -> None:
    task_id = await submitted(guest, LATER)
    assert (await guest.patch(f"tasks/{task_id}", {"priority": 3})).status_code == 200
    assert (await guest.patch(f"tasks/{task_id}", {"priority": 9})).status_code == 400
    refused = await guest.patch(f"tasks/{task_id}", {"queue": "maintenance"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (403, "queue")
    assert (await (await sign_up()).patch(f"tasks/{task_id}", {"priority": 1})).status_code == 404
    assert await database.fetchval("SELECT priority FROM task") == 3


async def test_a_task_that_a_worker_has_is_not_changed(
    guest: Person, operator: Person, database: Any
) -> None:
    task_id = await submitted(guest, LATER)
    await database.execute("UPDATE task SET send_at = NULL, holder = $1", uuid4())
    assert (await operator.post(f"tasks/{task_id}/run-now", None)).status_code == 409
    # The worker that holds the task has no row in `worker`, so no process can answer with the
    # task's stack.
    stack = await operator.get(f"tasks/{task_id}/stack")
    assert (stack.status_code, stack.json()["type"]) == (409, "urn:often:problem:task-not-running")
    answer = await operator.patch(f"tasks/{task_id}", {"priority": 1})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:often:problem:task-not-waiting")


async def test_a_delayed_task_is_run_now(guest: Person, operator: Person, database: Any) -> None:
    task_id = await submitted(guest, LATER)
    assert (await operator.post(f"tasks/{task_id}/run-now", None)).status_code == 202
    assert await database.fetchval("SELECT send_at <= now() FROM task")


async def test_a_crash_loop_is_released_and_nothing_else(
    guest: Person, operator: Person, database: Any
) -> None:
    crashed, failed = await submitted(guest, CHECK), await submitted(guest, CHECK)
    await database.execute(FAIL, UUID(crashed), "crash_loop")
    await database.execute(FAIL, UUID(failed), "bug")
    assert (await operator.post(f"tasks/{crashed}/release", {"reason": "repaired"})).status_code == 202
    refused = await operator.post(f"tasks/{failed}/release", None)
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:often:problem:not-in-crash-loop")
    row = await database.fetchrow("SELECT status, crashes FROM task WHERE id = $1", UUID(crashed))
    assert tuple(row) == ("pending", 0)
    # A release refuses at once a task that belongs to a workflow. A retry would look at the
    # workflow's handlers first.
    await database.execute("UPDATE task SET workflow = $1 WHERE id = $2", uuid4(), UUID(failed))
    refused = await operator.post(f"tasks/{failed}/release", None)
    assert refused.json()["type"] == "urn:often:problem:belongs-to-workflow"
    # The SQL statement refuses the task, too, even if no check ran before it.
    await database.execute(FAIL, UUID(failed), "crash_loop")
    values = {"id": UUID(failed), "reason": "released", "crash_loop": "crash_loop"}
    assert not await database.fetch(operate.RELEASE.sql, *operate.RELEASE.values(values))
