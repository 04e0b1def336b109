"""Tests that an API refuses a REDIS_URL that points to the Redis of another system."""

from typing import Any
from uuid import uuid4

import redis

from tests.integration.api.conftest import Client, Person


async def test_in_the_redis_of_another_system_tasks_are_accepted_and_stay_in_postgres(
    client: Client, guest: Person, redis_url: str, database: Any
) -> None:
    owner = uuid4().hex
    with redis.Redis.from_url(redis_url) as lanes:
        lanes.flushdb()
        lanes.set("often:system", owner)
        answer = await guest.post("tasks", {"name": "system.health_check", "params": {}})
        ready = await client.get("/health/ready")
        assert not lanes.keys("often:lane:*")
    assert answer.status_code == 202
    assert await database.fetchval("SELECT send_at IS NOT NULL FROM task")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    system = await database.fetchval("SELECT system FROM generation")
    assert (
        f"belongs to system {owner}, and this process to system {system.hex}"
        in ready.json()["servers"]["redis"]
    )
