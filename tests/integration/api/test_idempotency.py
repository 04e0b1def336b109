"""Tests of idempotency keys: repeating a request with its key submits nothing new."""

import asyncio
import base64
import dataclasses
import hmac
import secrets
from typing import Any

import msgspec
import pytest

from services.api.tasks.schemas import NewTaskBody
from shared.settings import Settings
from tests.integration.api.conftest import Person, SignUp, side_by_side
from tests.platform import VAULT_KEYS

HEALTH_CHECK = {"name": "system.health_check", "params": {}}


async def send(person: Person, key: str, body: Any = HEALTH_CHECK, path: str = "tasks") -> Any:
    headers = {**person.headers, "Idempotency-Key": key}
    return await person.client.post(f"/api/v1/{path}", json=body, headers=headers)


async def test_a_thousand_simultaneous_requests_with_one_key_are_one_task(
    guest: Person, settings: Settings, database: Any
) -> None:
    headers = {**guest.headers, "Idempotency-Key": "k"}
    asked_again = 0
    async with side_by_side(settings) as client, asyncio.timeout(120):

        async def persistent() -> Any:
            """Send the request.

            While the API answers 503, because it is busy, repeat it after the time in Retry-After.
            """
            nonlocal asked_again
            while (
                answer := await client.post("/api/v1/tasks", json=HEALTH_CHECK, headers=headers)
            ).is_server_error:
                assert answer.status_code == 503, answer.text
                asked_again += 1
                await asyncio.sleep(int(answer.headers["Retry-After"]))
            return answer

        answers = await asyncio.gather(*(persistent() for _ in range(1_000)))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["task_id"] for answer in answers}) == 1
    new = sum("Idempotent-Replayed" not in answer.headers for answer in answers)
    # The API may answer 503 although the task is stored after all. Then every later answer is a
    # repetition, and none counts as new.
    assert new == 1 or (new == 0 and asked_again)
    assert await database.fetchval("SELECT count(*) FROM task") == 1


async def test_a_key_with_another_body_or_route_is_refused(guest: Person, database: Any) -> None:
    assert (await send(guest, "k")).status_code == 202
    for answer in (
        await send(guest, "k", {**HEALTH_CHECK, "priority": 4}),
        await send(guest, "k", {"tasks": [HEALTH_CHECK]}, "tasks/batch"),
    ):
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:often:problem:key-reused"
    assert await database.fetchval("SELECT count(*) FROM task") == 1


async def test_members_may_come_in_any_order(guest: Person) -> None:
    first = await send(guest, "k", {"name": "system.health_check", "params": {}})
    again = await send(guest, "k", {"params": {}, "name": "system.health_check"})
    assert first.json() == again.json()


async def test_keys_belong_to_their_owner(guest: Person, sign_up: SignUp) -> None:
    other = await sign_up()
    assert (await send(guest, "k")).json()["task_id"] != (await send(other, "k")).json()["task_id"]


async def test_a_repeated_request_is_answered_when_the_account_it_names_is_gone(
    administrator: Person, database: Any
) -> None:
    account = await database.fetchval(
        "INSERT INTO account (email, password_hash) VALUES ('gone@often.example', '-') RETURNING id"
    )
    task = {"name": "sample.greet", "params": {"user_id": account}}
    step = {"step": "greet", "task": task["name"], "params": task["params"]}
    bodies = {
        "tasks": task,
        "tasks/batch": {"tasks": [task]},
        "workflows": {"name": "greet", "steps": [step]},
    }
    first = {path: await send(administrator, f"k {path}", body, path) for path, body in bodies.items()}
    await database.execute("DELETE FROM account WHERE id = $1", account)

    for path, body in bodies.items():
        again = await send(administrator, f"k {path}", body, path)
        assert (again.status_code, again.json()) == (202, first[path].json())
        assert "Idempotent-Replayed" in again.headers
        assert (await send(administrator, f"new {path}", body, path)).status_code in (400, 422)


async def test_a_refused_request_does_not_use_up_its_key(guest: Person) -> None:
    assert (await send(guest, "k", {"name": "system.health_check", "params": {"x": 1}})).status_code == 400
    assert (await send(guest, "k")).status_code == 202


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
async def test_a_bad_key_is_named(guest: Person, key: str) -> None:
    answer = await send(guest, key)
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]


@pytest.fixture
async def robot(guest: Person) -> Person:
    """The guest, with an API key as credentials, because a key remains valid when SECRET_KEY
    changes.
    """
    made = await guest.post("keys", {"name": "a robot", "scopes": ["tasks:read", "tasks:write"]})
    return dataclasses.replace(guest, headers={"Authorization": f"Bearer {made.json()['key']}"})


@pytest.mark.parametrize(
    "change",
    [
        {"secret_key": secrets.token_hex()},
        {"vault_keys": f"next:{base64.b64encode(secrets.token_bytes(32)).decode()},{VAULT_KEYS}"},
    ],
    ids=["SECRET_KEY", "OFTEN_VAULT_KEYS"],
)
async def test_a_change_of_keys_does_not_make_a_repeated_request_another_one(
    robot: Person, settings: Settings, change: dict[str, Any]
) -> None:
    first = await send(robot, "k")
    async with side_by_side(dataclasses.replace(settings, **change)) as robot.client:
        again = await send(robot, "k")
        other = await send(robot, "k", {**HEALTH_CHECK, "priority": 4})
        # After SECRET_KEY changes, the session remains valid, too. Only its access token has to be
        # renewed.
        refresh = {"refresh_token": robot.refresh_token}
        renewed = await robot.client.post("/api/v1/auth/refresh", json=refresh)
    assert (again.status_code, again.json()) == (202, first.json())
    assert other.status_code == 409
    assert renewed.status_code == 200


async def test_a_key_that_release_0_2_stored_leads_to_its_submission(
    guest: Person, settings: Settings, database: Any
) -> None:
    first = await send(guest, "k")
    body = msgspec.json.encode(["tasks", msgspec.convert(HEALTH_CHECK, NewTaskBody)], order="deterministic")
    former = hmac.digest(settings.secret_key.encode(), body, "sha256")
    await database.execute("UPDATE submission_key SET body_hash = $1", former)
    assert (await send(guest, "k")).json() == first.json()
