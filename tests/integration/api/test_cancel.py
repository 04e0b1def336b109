"""Tests of canceling a task before, while and after a worker holds it."""

from typing import Any
from uuid import UUID, uuid4

import pytest
import redis.asyncio as redis

from tests.integration.api.conftest import Person

HEALTH_CHECK = {"name": "system.health_check", "params": {}}


async def _submit(person: Person) -> str:
    return str((await person.post("tasks", HEALTH_CHECK)).json()["task_id"])


async def test_a_waiting_task_is_revoked_at_once(guest: Person) -> None:
    task_id = await _submit(guest)
    answer = await guest.delete(f"tasks/{task_id}")
    assert (answer.status_code, answer.json()["status"]) == (200, "revoked")
    assert (await guest.get(f"tasks/{task_id}")).json()["status"] == "revoked"


@pytest.mark.parametrize("status", ["pending", "started"])
async def test_canceling_a_held_task_notifies_its_worker(
    guest: Person, database: Any, redis_url: str, status: str
) -> None:
    task_id = await _submit(guest)
    await database.execute(
        "UPDATE task SET status = $1, send_at = NULL, sent_at = NULL, holder = $2, claim = 1", status, uuid4()
    )
    system = await database.fetchval("SELECT system FROM generation")
    async with redis.Redis.from_url(redis_url) as listener, listener.pubsub() as channel:
        await channel.subscribe(f"often:cancel:{system.hex}")
        await channel.get_message(timeout=5)
        answer = await guest.delete(f"tasks/{task_id}")
        told = await channel.get_message(ignore_subscribe_messages=True, timeout=5)
    assert (answer.status_code, answer.json()["status"]) == (202, status)
    assert told is not None
    assert told["data"] == UUID(task_id).bytes
    task = (await guest.get(f"tasks/{task_id}")).json()
    assert (task["status"], task["cancel_requested_at"] is None) == (status, False)


@pytest.mark.parametrize("status", ["success", "failure", "revoked"])
async def test_a_finished_task_cannot_be_cancelled(guest: Person, database: Any, status: str) -> None:
    task_id = await _submit(guest)
    await database.execute(
        "UPDATE task SET status = $1, send_at = NULL, sent_at = NULL, completed_at = now()", status
    )
    answer = await guest.delete(f"tasks/{task_id}")
    assert (answer.status_code, answer.json()["task_status"]) == (409, status)
    assert await database.fetchval("SELECT cancel_requested_at FROM task") is None
