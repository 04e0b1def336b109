"""Tests of a role's quotas: how many tasks it may submit, at which priority, what is refused, and
what uses no quota.
"""

import asyncio
import json
import secrets
from datetime import timedelta
from typing import Any

import pytest
import redis

from local import ports
from services.api.quotas import counters, waiting
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.settings import Settings
from tests.eventually import eventually
from tests.explain import explain
from tests.integration.api.conftest import Client, Person
from tests.integration.api.serving import Serve, serving
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

CHECK = {"name": "system.health_check", "params": {}}
LATER = {**CHECK, "delay_s": 3600}
ENDED = Statement("""
    INSERT INTO task (name, type, queue, params, owner, status, completed_at)
    SELECT 'sample.instant', 'sample', 'default', '{}', :owner, 'success', now() FROM generate_series(1, 5000)
""")
#: Tolerated difference in the number of blocks read, in case an index gets one level deeper or a
#: catalog gets a further page.
SLACK = 100


@pytest.fixture(autouse=True)
def _long_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the quota's minute as long as a day.

    Otherwise the end of a minute could reset the quota during a test.
    """
    monkeypatch.setattr(counters, "minute", counters.day)


@pytest.fixture
def serve(settings: Settings) -> Serve:
    return serving(settings)


async def _post(client: Client, person: Person, body: Any, **headers: str) -> Any:
    path = "tasks/batch" if "tasks" in body else "tasks"
    return await client.post(f"/api/v1/{path}", json=body, headers={**person.headers, **headers})


def _batch(count: int, task: dict[str, Any] = CHECK) -> dict[str, Any]:
    return {"tasks": [task] * count}


async def _used(client: Client, person: Person) -> dict[str, int]:
    answer = await client.get("/api/v1/auth/me/quotas", headers=person.headers)
    return {each["quota"]: each["taken"] for each in answer.json()["quotas"]}


async def test_a_user_cannot_request_a_priority_above_five(guest: Person, administrator: Person) -> None:
    refused = await guest.post("tasks", {**CHECK, "priority": 6})
    assert refused.status_code == 400
    rule = "must be at most 5 for your role user; leave it out for the task's own"
    assert refused.json()["errors"] == [{"field": "priority", "rule": rule}]
    batch = await guest.post("tasks/batch", {"tasks": [CHECK, {**CHECK, "priority": 9}]})
    assert [error["field"] for error in batch.json()["errors"]] == ["tasks[1].priority"]
    assert (await guest.post("tasks", {**CHECK, "priority": 5})).status_code == 202
    assert (await administrator.post("tasks", {**CHECK, "priority": 9})).status_code == 202


async def test_a_batch_uses_all_or_nothing_of_a_minutes_quota(
    guest: Person, administrator: Person, serve: Serve, database: Any
) -> None:
    async with serve(quota_tasks="user=3") as client:
        assert (await _post(client, guest, _batch(2))).status_code == 202
        refused = await _post(client, guest, _batch(2))
        assert refused.status_code == 429
        problem = refused.json()
        assert (problem["type"], problem["quota"], problem["amount"]) == (
            "urn:often:problem:quota-used-up",
            "tasks",
            3,
        )
        assert 1 <= int(refused.headers["retry-after"]) <= 86_400
        assert (await _post(client, guest, CHECK)).status_code == 202
        assert (await _post(client, guest, CHECK)).status_code == 429
        assert (await _post(client, administrator, _batch(4))).status_code == 202
        used = await _used(client, guest)
        assert (used["tasks"], used["waiting"]) == (3, 3)
    assert await database.fetchval("SELECT count(*) FROM task WHERE owner = $1", guest.id) == 3


async def test_more_than_the_whole_quota_is_refused_permanently(guest: Person, serve: Serve) -> None:
    async with serve(quota_tasks="user=3") as client:
        refused = await _post(client, guest, _batch(4))
        group = {"name": "many", "steps": [{"step": "all", "task": CHECK["name"], "members": [{}] * 4}]}
        of_steps = await client.post("/api/v1/workflows", json=group, headers=guest.headers)
    assert (refused.status_code, of_steps.status_code) == (400, 400)
    rule = "must take at most 3 of the quota tasks of your role user, not 4"
    assert refused.json()["errors"] == [{"field": "tasks", "rule": rule}]
    of_tasks = f"{rule}: each task of its steps counts"
    assert of_steps.json()["errors"] == [{"field": "steps", "rule": of_tasks}]


async def test_processes_agree_on_the_used_quota(guest: Person, serve: Serve) -> None:
    async with serve(quota_tasks="user=4") as one, serve(quota_tasks="user=4") as other:
        # The first API process reports the quota that it used to Redis within a second. The other
        # process learns it from there.
        assert (await _post(one, guest, CHECK)).status_code == 202
        await eventually(lambda: _has_taken(other, guest, 1))
        assert (await _post(one, guest, _batch(2))).status_code == 202
        assert (await _post(other, guest, _batch(2))).status_code == 429
        assert (await _post(other, guest, CHECK)).status_code == 202
        assert (await _post(other, guest, CHECK)).status_code == 429


async def _has_taken(client: Client, person: Person, taken: int) -> bool:
    return (await _used(client, person))["tasks"] == taken


async def test_a_repeated_submission_uses_no_quota(guest: Person, serve: Serve) -> None:
    async with serve(quota_tasks="user=2") as client:
        keyed = {"Idempotency-Key": "k"}
        first = await _post(client, guest, CHECK, **keyed)
        again = await _post(client, guest, CHECK, **keyed)
        assert (again.status_code, again.json()) == (202, first.json())
        assert (await _post(client, guest, CHECK)).status_code == 202
        # The quota is used up, so a new submission is refused. Repeating an accepted one with its
        # key still returns the first answer.
        assert (await _post(client, guest, CHECK, **{"Idempotency-Key": "other"})).status_code == 429
        again = await _post(client, guest, CHECK, **keyed)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
        assert again.json() == first.json()


def _workflow(members: int, **step: Any) -> dict[str, Any]:
    group = {"step": "many", "task": CHECK["name"], "members": [{}] * members, **step}
    return {"name": "checks", "steps": [group]}


async def test_a_workflow_uses_the_quota_of_all_its_tasks(guest: Person, serve: Serve) -> None:
    async def post(body: Any, key: str) -> Any:
        headers = {**guest.headers, "Idempotency-Key": key}
        return await client.post("/api/v1/workflows", json=body, headers=headers)

    async with serve(quota_tasks="user=3") as client:
        refused = await post(_workflow(1, priority=6), "priority")
        assert "step 'many': must be at most 5" in refused.json()["errors"][0]["rule"]
        assert (await post(_workflow(4), "large")).json()["errors"][0]["field"] == "steps"
        first = await post(_workflow(2), "first")
        assert first.status_code == 202
        assert (await post(_workflow(2), "second")).status_code == 429
        assert (await post(_workflow(2), "first")).json() == first.json()
        assert (await _used(client, guest))["tasks"] == 2


async def test_a_refused_submission_uses_no_quota(guest: Person, serve: Serve) -> None:
    async with serve(quota_tasks="user=1") as client:
        for bad in ({"params": {"x": 1}}, {"priority": 9}, {"name": "no.such"}):
            assert (await _post(client, guest, CHECK | bad)).status_code in (400, 422)
        assert (await _post(client, guest, CHECK)).status_code == 202


async def test_the_number_of_waiting_tasks_per_user_is_limited(guest: Person, serve: Serve) -> None:
    async with serve(quota_waiting="user=2") as client:
        first, *_ = (await _post(client, guest, _batch(2, LATER))).json()["task_ids"]
        for body in (LATER, _batch(2, LATER)):
            refused = await _post(client, guest, body)
            assert (refused.status_code, refused.json()["quota"]) == (429, "waiting")
            assert refused.headers["retry-after"] == "10"
        assert (await client.delete(f"/api/v1/tasks/{first}", headers=guest.headers)).status_code == 200

        async def fits() -> bool:
            return bool((await _post(client, guest, LATER)).status_code == 202)

        await eventually(fits)
        assert not await fits()


async def test_waiting_tasks_are_found_by_their_index(platform: Platform) -> None:
    database = Database.for_service(platform.database_url, "api-quotas", by_index=True)

    async def blocks() -> int:
        values = {"owners": [7], "most": waiting.MOST}
        (row,) = await database.run(explain(waiting.COUNT, "ANALYZE, BUFFERS, FORMAT JSON"), **values)
        (plan,) = json.loads(row["QUERY PLAN"])
        return int(plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"])

    before = await blocks()
    await platform.rows(ENDED, owner=7)
    assert await blocks() <= before + SLACK


async def test_an_account_is_not_forgotten_while_its_tasks_are_counted(platform: Platform) -> None:
    await platform.submit(INSTANT, Nothing(), owner=7, delay=timedelta(hours=1))
    counts = waiting.Waiting(platform.database)
    reading = asyncio.create_task(counts.read(7))
    await asyncio.sleep(0)  # let the count begin, so that its statement is in progress
    await counts.refresh()
    assert await reading == 1


async def test_without_redis_no_request_is_refused(guest: Person, serve: Serve) -> None:
    nowhere = f"redis://127.0.0.1:{ports.pick('valkey')['valkey']}/0"
    async with serve(redis_url=nowhere, quota_tasks="user=2") as client:
        for body in (CHECK, CHECK, CHECK, _batch(2)):
            assert (await _post(client, guest, body)).status_code == 202


async def test_a_schedule_uses_no_quota(administrator: Person, serve: Serve) -> None:
    schedule = {"task_name": CHECK["name"], "params": {}, "kind": "interval", "expression": "1 h"}
    async with serve(quota_tasks="administrator=1") as client:
        assert (await _post(client, administrator, CHECK)).status_code == 202
        for name in ("one", "two"):
            made = {"name": f"{name}.{secrets.token_hex(4)}", **schedule}
            await client.post("/api/v1/schedules", json=made, headers=administrator.headers)
            path = f"/api/v1/schedules/{made['name']}/fire"
            assert (await client.post(path, headers=administrator.headers)).status_code == 202
        assert (await _post(client, administrator, CHECK)).status_code == 429


async def test_a_single_task_asks_redis_no_more_often_than_without_quotas(
    guest: Person, serve: Serve, redis_url: str
) -> None:
    posts = 40

    async def calls(**change: str) -> int:
        async with serve(**change) as client:
            with redis.Redis.from_url(redis_url) as server:
                await _post(client, guest, CHECK)
                before = server.info("commandstats")["cmdstat_evalsha"]["calls"]
                for _ in range(posts):
                    assert (await _post(client, guest, CHECK)).status_code == 202
                after = server.info("commandstats")["cmdstat_evalsha"]["calls"]
        return int(after - before)

    without = await calls(quota_tasks="none", quota_waiting="none")
    # Only a background loop calls Redis, once per second, so the number of calls does not grow with
    # the number of requests.
    assert await calls() < without + posts // 2


async def test_quotas_of_the_caller(guest: Person, administrator: Person) -> None:
    mine = (await guest.get("auth/me/quotas")).json()
    assert mine["highest_priority"] == 5
    tasks = next(each for each in mine["quotas"] if each["quota"] == "tasks")
    assert (tasks["amount"], tasks["taken"], tasks["left"]) == (10_000, 0, 10_000)
    assert tasks["resets_at"] is not None
    assert (await administrator.get("auth/me/quotas")).json() == {"highest_priority": 9, "quotas": []}
