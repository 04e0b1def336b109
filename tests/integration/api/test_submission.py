"""Tests of submitting tasks: the stored row, the id in Redis, the caller's rights, and the
errors.
"""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import redis
from litestar.testing import AsyncTestClient

from services.api import app
from shared.contracts import nesting
from shared.contracts.catalogue import Catalogue
from shared.errors import FieldProblem
from shared.settings import Settings
from tests.integration.api.conftest import Person, SignUp
from tests.sample_tasks import INSTANT, Nothing

HEALTH_CHECK = {"name": "system.health_check", "params": {}}


async def test_a_submitted_task_has_a_row_and_its_id_is_in_redis(
    guest: Person, database: Any, redis_url: str
) -> None:
    answer = await guest.post("tasks", {**HEALTH_CHECK, "priority": 4})
    assert answer.status_code == 202
    assert answer.json()["status"] == "queued"
    task_id = UUID(answer.json()["task_id"])

    row = await database.fetchrow("SELECT * FROM task")
    assert (row["id"], row["name"], row["owner"], row["status"], row["priority"]) == (
        task_id,
        "system.health_check",
        guest.id,
        "pending",
        4,
    )
    with redis.Redis.from_url(redis_url) as lanes:
        assert lanes.lrange("often:lane:default:4", 0, -1) == [task_id.bytes]


async def test_a_delayed_task_waits_in_postgres_only(guest: Person, database: Any, redis_url: str) -> None:
    await guest.post("tasks", {**HEALTH_CHECK, "delay_s": 60})
    await guest.post(
        "tasks", {**HEALTH_CHECK, "run_at": (datetime.now(UTC) + timedelta(days=90)).isoformat()}
    )
    delays = await database.fetch("SELECT send_at - created_at AS delay FROM task ORDER BY id")
    assert [round(row["delay"].total_seconds() / 60) for row in delays] == [1, 90 * 24 * 60]
    with redis.Redis.from_url(redis_url) as lanes:
        # Only one id is in a lane in Redis, that of the mail that confirms the guest's address. The
        # delayed tasks wait in Postgres.
        assert set(lanes.keys("often:lane:*")) <= {b"often:lane:email:9"}


async def test_a_time_long_past_means_immediately(guest: Person, database: Any) -> None:
    answer = await guest.post("tasks", {**HEALTH_CHECK, "run_at": "0001-01-01T00:00:00Z"})
    assert answer.status_code == 202
    assert await database.fetchval("SELECT send_at <= now() FROM task")


async def test_a_guest_cannot_greet_another_account(guest: Person, sign_up: SignUp, database: Any) -> None:
    other = await sign_up()
    answer = await guest.post("tasks", {"name": "sample.greet", "params": {"user_id": other.id}})
    assert answer.status_code == 403
    assert answer.json()["errors"] == [{"field": "params.user_id", "rule": "must be your own id"}]
    assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_an_administrator_greets_any_existing_account(administrator: Person, guest: Person) -> None:
    answers = [
        await administrator.post("tasks", {"name": "sample.greet", "params": {"user_id": user_id}})
        for user_id in (guest.id, guest.id + 1_000, 2**63 - 1, 2**63)
    ]
    assert [answer.status_code for answer in answers] == [202, 422, 422, 422]
    assert answers[-1].json()["errors"][0]["field"] == "params.user_id"


BAD_SUBMISSIONS: list[Any] = [
    ("tasks", {"params": {}}, 400, "name"),
    ("tasks", {"name": "system.health_check"}, 400, "params"),
    ("tasks", {"name": 5, "params": {}}, 400, "name"),
    ("tasks", {"name": "no.such_task", "params": {}}, 422, "name"),
    ("tasks", {**HEALTH_CHECK, "params": []}, 400, "params"),
    ("tasks", {**HEALTH_CHECK, "params": {"x": "\x00"}}, 400, "params.x"),
    ("tasks", {**HEALTH_CHECK, "prority": 5}, 400, "prority"),
    ("tasks", {**HEALTH_CHECK, "priority": "5"}, 400, "priority"),
    ("tasks", {**HEALTH_CHECK, "priority": 10}, 400, "priority"),
    ("tasks", {**HEALTH_CHECK, "delay_s": -1}, 400, "delay_s"),
    ("tasks", {**HEALTH_CHECK, "delay_s": 1e300}, 400, "delay_s"),
    ("tasks", {**HEALTH_CHECK, "run_at": "2026-11-22T12:00:00"}, 400, "run_at"),
    ("tasks", {**HEALTH_CHECK, "run_at": "9999-12-31T23:59:59-14:00"}, 400, "run_at"),
    ("tasks", {**HEALTH_CHECK, "run_at": "2020-01-01T00:00:00Z", "delay_s": 1}, 400, "run_at"),
    ("tasks", {**HEALTH_CHECK, "expires_at": "2020-01-01T00:00:00Z"}, 400, "expires_at"),
    ("tasks", {"name": "sample.greet", "params": {}}, 400, "params.user_id"),
    ("tasks", {"name": "sample.greet", "params": {"user_id": "1"}}, 400, "params.user_id"),
    ("tasks", [], 400, ""),
]


async def test_a_bad_submission_names_the_field_and_stores_nothing(
    guest: Person, database: Any, subtests: pytest.Subtests
) -> None:
    for path, body, status, field in BAD_SUBMISSIONS:
        with subtests.test(path=path, body=body, status=status, field=field):
            answer = await guest.post(path, body)
            assert (answer.status_code, answer.headers["content-type"]) == (
                status,
                "application/problem+json",
            )
            problem = answer.json()
            assert (problem["status"], problem["instance"]) == (status, f"/api/v1/{path}")
            assert [error["field"] for error in problem["errors"]] == [field]
            assert await database.fetchval("SELECT count(*) FROM task") == 0


async def test_every_bad_field_is_named(guest: Person) -> None:
    body = {"params": 5, "priority": 10, "delay_s": -1, "prority": 5}
    fields = [error["field"] for error in (await guest.post("tasks", body)).json()["errors"]]
    assert fields == ["name", "params", "priority", "delay_s", "prority"]
    params = {"user_id": "1", "text": 5, "more": None}
    errors = (await guest.post("tasks", {"name": "sample.greet", "params": params})).json()["errors"]
    assert [error["field"] for error in errors] == ["params.user_id", "params.text", "params.more"]


async def test_a_submission_is_checked_once(guest: Person, settings: Settings) -> None:
    checked = []

    def rules_for_new(params: Nothing, _: datetime) -> list[FieldProblem]:
        checked.append(params)
        return []

    counted = dataclasses.replace(INSTANT, rules_for_new=rules_for_new)
    body = {"name": counted.name, "params": {}}
    async with AsyncTestClient(app.build(settings, Catalogue([counted]))) as client:
        for path, sent in (("tasks", body), ("tasks/batch", {"tasks": [body, body]})):
            answer = await client.post(f"/api/v1/{path}", json=sent, headers=guest.headers)
            assert answer.status_code == 202
    assert len(checked) == 3


async def test_an_unknown_task_is_answered_with_the_known_ones(guest: Person) -> None:
    answer = await guest.post("tasks", {"name": "no.such_task", "params": {}})
    assert "sample.greet, " in answer.json()["errors"][0]["rule"]


UNREADABLE: dict[str, tuple[bytes, int]] = {
    "empty": (b"", 400),
    "cut off": (b"{", 400),
    "no UTF-8": (b'{"name": "\xff"}', 400),
    "half a surrogate pair": (b'{"name": "\\ud800", "params": {}}', 400),
    "nested too deeply": (
        b'{"name": "system.health_check", "params": {"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
        400,
    ),
    "too large": (
        b'{"name": "system.health_check", "params": {"x": "' + b"x" * 1_100_000 + b'"}}',
        413,
    ),
}


async def test_a_body_that_cannot_be_read_is_a_problem_document(
    guest: Person, subtests: pytest.Subtests
) -> None:
    for fault, (body, status) in UNREADABLE.items():
        with subtests.test(fault=fault):
            answer = await guest.client.post("/api/v1/tasks", content=body, headers=guest.headers)
            assert (answer.status_code, answer.json()["status"]) == (status, status)
            assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(("lists", "is_refused"), [(98, False), (99, True), (5_000, True)])
async def test_the_levels_of_a_body_are_bounded(guest: Person, lists: int, is_refused: bool) -> None:
    """Of the allowed levels, the request body and `params` use one each. The lists use the rest."""
    body = f'{{"name": "system.health_check", "params": {{"x": {"[" * lists}{"]" * lists}}}}}'
    answer = await guest.client.post("/api/v1/tasks", content=body, headers=guest.headers)
    assert (answer.status_code, nesting.RULE in answer.json()["detail"]) == (400, is_refused)


async def test_unknown_addresses_and_methods_are_problem_documents(guest: Person) -> None:
    answers = [
        await guest.get("no/such/thing"),
        await guest.get("tasks/no-uuid"),
        await guest.client.put("/api/v1/tasks"),
    ]
    assert [answer.json()["status"] for answer in answers] == [404, 404, 405]
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
