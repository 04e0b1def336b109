"""Tests of the API while Redis or Postgres is unavailable."""

import dataclasses
import re
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from shared.ledger import queue_control
from shared.ledger.statement import Statement
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person

#: Address on which no server listens.
NOWHERE = "127.0.0.1:1"
ALIVE = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES (gen_random_uuid(), 'test', 1, '{}', 1, 1) RETURNING id
"""


async def test_without_redis_a_task_is_accepted_and_waits_for_the_dispatcher(
    client: Client, guest: Person, settings: Settings, database: Any
) -> None:
    away = dataclasses.replace(settings, redis_url=f"redis://{NOWHERE}/0")
    async with AsyncTestClient(app.build(away)) as without:
        body = {"name": "system.health_check", "params": {}}
        answers = [await without.post("/api/v1/tasks", json=body, headers=guest.headers) for _ in range(2)]
        ready = await without.get("/health/ready")
    assert [answer.status_code for answer in answers] == [202, 202]
    assert await database.fetchval("SELECT count(*) FROM task WHERE send_at IS NOT NULL") == 2
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert ready.json()["servers"]["postgres"] == "ok"
    assert re.fullmatch(
        r"away: Redis does not answer \(.*Connect call failed.*\)", ready.json()["servers"]["redis"]
    )


async def test_without_redis_a_held_task_is_still_asked_to_stop(
    client: Client, guest: Person, settings: Settings, database: Any
) -> None:
    task_id = (await guest.post("tasks", {"name": "system.health_check", "params": {}})).json()["task_id"]
    await database.execute("UPDATE task SET send_at = NULL, sent_at = NULL, holder = $1", uuid4())
    away = dataclasses.replace(settings, redis_url=f"redis://{NOWHERE}/0")
    async with AsyncTestClient(app.build(away)) as without:
        answer = await without.delete(f"/api/v1/tasks/{task_id}", headers=guest.headers)
    assert (answer.status_code, answer.json()["message"].rpartition(" worker ")[2]) == (
        202,
        "that has the task learns of it with its next heartbeat.",
    )
    assert await database.fetchval("SELECT cancel_requested_at IS NOT NULL FROM task")


async def test_without_redis_acts_of_operators_take_effect_and_say_how(
    client: Client, operator: Person, settings: Settings, database: Any, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task_id = (await operator.post("tasks", body)).json()["task_id"]
    worker = await database.fetchval(ALIVE)
    away = dataclasses.replace(settings, redis_url=f"redis://{NOWHERE}/0")
    async with AsyncTestClient(app.build(away)) as operator.client:
        paused = await operator.post("queues/default/pause", {"reason": "a test"})
        started = await operator.post(f"tasks/{task_id}/run-now", {"past_pause": True})
        drained = await operator.post(f"workers/{worker}/drain", None)
    assert [answer.status_code for answer in (paused, started, drained)] == [200, 202, 202]
    assert "within two seconds, because Redis is unavailable" in paused.json()["message"]
    assert "waits for the end of the pause, because Redis is unavailable" in started.json()["message"]
    assert await database.fetchval("SELECT send_at <= now() FROM task")
    hints = [each for each in caplog.records if "message through Redis was not sent" in each.getMessage()]
    assert [each.exc_info is not None for each in hints] == [True] * 3


async def test_a_pause_holds_when_its_deadlines_cannot_be_counted(
    operator: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = Statement("SELECT pg_sleep(10), :queue::text, :limit::int")
    monkeypatch.setattr(queue_control, "EXPIRING", late)
    paused = await operator.post("queues/default/pause", {"reason": "a test"})
    assert (paused.status_code, paused.json()["expiring"]) == (200, None)
    assert await database.fetchval("SELECT paused_at IS NOT NULL FROM queue_control")


@pytest.fixture
async def without_postgres(settings: Settings) -> Any:
    away = dataclasses.replace(settings, database_url=f"postgres://x:x@{NOWHERE}/x")
    async with AsyncTestClient(app.build(away)) as client:
        yield client


async def test_without_postgres_the_process_lives_and_is_not_ready(without_postgres: Client) -> None:
    assert (await without_postgres.get("/health/live")).status_code == 200
    ready = await without_postgres.get("/health/ready")
    assert (ready.status_code, ready.json()["servers"]["redis"]) == (503, "ok")
    assert re.fullmatch(
        r"away: Postgres does not answer \(.*Connect call failed.*\)", ready.json()["servers"]["postgres"]
    )


async def test_without_postgres_reads_and_writes_say_when_to_come_back(
    without_postgres: Client, settings: Settings
) -> None:
    claims = {"sub": "1", "sid": str(uuid4()), "iat": 0, "exp": time.time() + 60}
    token = jwt.encode(claims, settings.secret_key, "HS256")
    headers = {"Authorization": f"Bearer {token}"}
    account = {"email": "ann@often.example", "password": "correct horse"}
    answers = [
        await without_postgres.get("/api/v1/tasks", headers=headers),
        await without_postgres.post("/api/v1/tasks", json={"name": "x.y", "params": {}}, headers=headers),
        await without_postgres.post("/api/v1/auth/register", json=account),
        await without_postgres.post("/api/v1/auth/login", json=account),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"].startswith("Postgres does not answer")
        assert "outcome_unknown" not in answer.json()


async def test_a_cut_connection_costs_at_most_the_requests_in_progress(guest: Person, database: Any) -> None:
    await database.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'often-api'"
        " AND datname = current_database()"
    )
    assert (await guest.get("auth/me")).status_code in (200, 503)
    assert (await guest.get("auth/me")).status_code == 200
