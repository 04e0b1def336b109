"""Tests of an operator's retry of a task that has ended."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.integration.api.conftest import Person

CHECK = {"name": "system.health_check", "params": {}}

#: Changes a task's row as a worker does when the task fails for good. $1: the task, $2: the worker.
FAILED = """
    UPDATE task SET status = 'failure', send_at = NULL, sent_at = NULL, claim = 1, attempt = 1, failures = 1,
        crashes = 2, suspect = true, started_at = now() - interval '2 s', completed_at = now(),
        execution_time_seconds = 2, error_kind = 'bug', error_message = 'broken', worker = $2
    WHERE id = $1
"""


async def test_a_failed_task_starts_again_and_its_attempt_is_kept(
    guest: Person, operator: Person, database: Any
) -> None:
    task_id = (await guest.post("tasks", CHECK)).json()["task_id"]
    await database.execute(FAILED, UUID(task_id), uuid4())

    assert (await operator.post(f"tasks/{task_id}/retry", None)).status_code == 202

    row = await database.fetchrow("SELECT * FROM task")
    assert (row["status"], row["failures"], row["crashes"], row["suspect"]) == ("pending", 0, 0, False)
    assert (row["claim"], row["attempt"], row["error_message"], row["completed_at"]) == (2, 1, None, None)
    assert row["send_at"] is not None
    [attempt] = (await guest.get(f"tasks/{task_id}/attempts")).json()
    assert (attempt["attempt"], attempt["outcome"], attempt["error_message"]) == (1, "failure", "broken")


async def test_a_cancelled_task_starts_again(guest: Person, operator: Person, database: Any) -> None:
    task_id = (await guest.post("tasks", {**CHECK, "delay_s": 3600})).json()["task_id"]
    await guest.delete(f"tasks/{task_id}")
    assert (await operator.post(f"tasks/{task_id}/retry", None)).status_code == 202
    row = await database.fetchrow("SELECT status, cancel_requested_at, send_at <= now() AS due FROM task")
    assert (row["status"], row["cancel_requested_at"], row["due"]) == ("pending", None, True)
    assert (await guest.get(f"tasks/{task_id}/attempts")).json() == []


@pytest.mark.parametrize("status", ["pending", "success"])
async def test_a_task_that_did_not_fail_is_not_retried(
    guest: Person, operator: Person, database: Any, status: str
) -> None:
    task_id = (await guest.post("tasks", CHECK)).json()["task_id"]
    if status == "success":
        await database.execute(
            "UPDATE task SET status = 'success', completed_at = now(), send_at = NULL, sent_at = NULL"
        )
    before = await database.fetchrow("SELECT status, claim, revision FROM task")
    answer = await operator.post(f"tasks/{task_id}/retry", None)
    assert answer.status_code == 409
    assert f"this one is {status}" in answer.json()["detail"]
    assert await database.fetchrow("SELECT status, claim, revision FROM task") == before
