"""Tests of API keys: they are shown once, limited to their scopes, and refused when they or their
owner are no longer valid.
"""

import asyncio
from typing import Any

import pytest

from services.api.identity import api_keys
from services.api.identity.api_keys import PREFIX
from shared.identity.tables import Role
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, SignUp, side_by_side

ROBOT = {"name": "a robot", "scopes": ["tasks:read", "tasks:write"]}
HEALTH_CHECK = {"name": "system.health_check", "params": {}}


async def _make(person: Person, **change: Any) -> tuple[dict[str, Any], Person]:
    """Create an API key.

    Returns the API's answer, and the same person with the key as credentials.
    """
    answer = await person.post("keys", ROBOT | change)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    robot = Person(person.id, "", "", "", {"Authorization": f"Bearer {made['key']}"}, person.client)
    return made, robot


async def test_a_key_acts_as_its_owner(guest: Person) -> None:
    made, robot = await _make(guest)
    assert made["key"].startswith(f"often_{made['id'].replace('-', '')}_")
    submitted = await robot.post("tasks", HEALTH_CHECK)
    assert submitted.status_code == 202
    task = await guest.get(f"tasks/{submitted.json()['task_id']}")
    assert task.json()["owner"] == guest.id


async def test_requests_at_once_do_not_exceed_the_limit_of_keys(
    guest: Person, settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_keys, "MOST_KEYS", 3)
    async with side_by_side(settings) as guest.client:
        answers = await asyncio.gather(*[guest.post("keys", ROBOT) for _ in range(8)])
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 5
    assert await database.fetchval("SELECT count(*) FROM api_key") == 3


async def test_a_key_is_shown_once_and_stored_as_a_hash(guest: Person, database: Any) -> None:
    made, _ = await _make(guest)
    secret = made["key"].removeprefix(PREFIX).partition("_")[2]
    listed = await guest.get("keys")
    assert secret not in listed.text
    assert listed.json()["items"] == [{name: value for name, value in made.items() if name != "key"}]
    row = await database.fetchrow("SELECT secret_hash, api_key::text AS text FROM api_key")
    assert len(row["secret_hash"]) == 32
    assert secret not in row["text"]


async def test_a_refused_key_names_the_missing_scope(guest: Person) -> None:
    _, robot = await _make(guest, scopes=["tasks:read"])
    assert (await robot.get("tasks")).status_code == 200
    for answer, scope in (
        (await robot.post("tasks", HEALTH_CHECK), "tasks:write"),
        (await robot.get("auth/me"), "accounts:read"),
    ):
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:often:problem:scope-missing")
        assert scope in answer.json()["detail"]


async def test_a_key_makes_and_revokes_no_keys_and_ends_no_sessions(administrator: Person) -> None:
    every = ["tasks:read", "tasks:write", "accounts:read", "accounts:write"]
    made, robot = await _make(administrator, scopes=every)
    change = {"current_password": administrator.password, "new_password": "battery staple"}
    answers = [
        await robot.post("keys", ROBOT),
        await robot.get("keys"),
        await robot.delete(f"keys/{made['id']}"),
        await robot.post("auth/logout", {"refresh_token": administrator.refresh_token}),
        await robot.post("auth/logout-all", None),
        await robot.post("auth/password", change),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert (await robot.get("accounts")).status_code == 200


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("UPDATE api_key SET expires_at = now()", "has expired"),
        ("UPDATE api_key SET revoked_at = now()", "was revoked"),
        ("DELETE FROM api_key", "is unknown"),
        ("UPDATE account SET is_active = false", "not active"),
    ],
)
async def test_an_expired_or_revoked_key_is_refused_with_advice(
    guest: Person, database: Any, change: str, reason: str
) -> None:
    _, robot = await _make(guest)
    await database.execute(change)
    answer = await robot.get("tasks")
    assert answer.status_code == 401
    assert reason in answer.json()["detail"]


async def test_what_only_looks_like_a_key_is_refused(client: Client, subtests: pytest.Subtests) -> None:
    for shown in ["often_", "often_x_y", "often__", "often_é_é", "often_00000000000070008000000000000000_x"]:
        with subtests.test(shown=shown):
            headers = {"Authorization": f"Bearer {shown}".encode()}
            answer = await client.get("/api/v1/tasks", headers=headers)  # type: ignore[arg-type]
            assert (answer.status_code, "unknown" in answer.json()["detail"]) == (401, True)


async def test_a_key_with_another_secret_is_unknown(guest: Person, sign_up: SignUp) -> None:
    made, robot = await _make(guest)
    other, _ = await _make(await sign_up())
    robot.headers = {"Authorization": f"Bearer {made['key'][:-43]}{other['key'][-43:]}"}
    assert (await robot.get("tasks")).status_code == 401


async def test_a_revoked_key_is_refused_at_once_and_revoking_may_be_repeated(guest: Person) -> None:
    made, robot = await _make(guest)
    assert (await robot.get("tasks")).status_code == 200
    for _ in range(2):
        assert (await guest.delete(f"keys/{made['id']}")).status_code == 204
    assert (await robot.get("tasks")).status_code == 401
    (listed,) = (await guest.get("keys")).json()["items"]
    assert listed["revoked_at"] is not None


async def test_all_keys_are_revoked_together(guest: Person, sign_up: SignUp) -> None:
    robots = [(await _make(guest))[1] for _ in range(2)]
    _, stranger = await _make(await sign_up())
    for revoked in (2, 0):
        answer = await guest.delete("keys")
        assert (answer.status_code, answer.json()) == (200, {"revoked": revoked})
    assert [(await robot.get("tasks")).status_code for robot in robots] == [401, 401]
    assert (await stranger.get("tasks")).status_code == 200
    assert all(item["revoked_at"] for item in (await guest.get("keys")).json()["items"])


async def test_only_administrators_revoke_all_keys_of_others(guest: Person, administrator: Person) -> None:
    _, robot = await _make(guest)
    refused = [
        await guest.delete(f"keys?owner={administrator.id}"),
        await administrator.delete(f"keys?owner={10**12}"),
        await administrator.delete(f"keys?user={guest.id}"),
    ]
    assert [answer.status_code for answer in refused] == [403, 422, 400]
    assert (await robot.get("tasks")).status_code == 200
    assert (await administrator.delete(f"keys?owner={guest.id}")).json() == {"revoked": 1}
    assert (await robot.get("tasks")).status_code == 401


async def test_an_administrator_lists_and_revokes_the_keys_of_others(
    guest: Person, administrator: Person
) -> None:
    made, robot = await _make(guest)
    assert (await administrator.get("keys")).json()["items"] == []
    (listed,) = (await administrator.get("keys", owner=guest.id)).json()["items"]
    assert (listed["id"], listed["owner"]) == (made["id"], guest.id)
    assert (await administrator.delete(f"keys/{made['id']}")).status_code == 204
    assert (await robot.get("tasks")).status_code == 401
    assert (await guest.get("keys", owner=administrator.id)).status_code == 403
    assert (await administrator.get("keys", owner=10**12)).status_code == 422


async def test_a_key_can_do_no_more_than_its_owner_may_now(
    administrator: Person, sign_up: SignUp, database: Any
) -> None:
    await database.execute("UPDATE account SET role = 'administrator' WHERE id = $1", (await sign_up()).id)
    _, robot = await _make(administrator, scopes=["accounts:read"])
    assert (await robot.get("accounts")).status_code == 200
    await database.execute("UPDATE account SET role = 'user' WHERE id = $1", administrator.id)
    assert (await robot.get("accounts")).status_code == 403


async def test_the_use_of_a_key_is_noted_once_a_minute(guest: Person, database: Any) -> None:
    _, robot = await _make(guest)

    async def used() -> Any:
        await robot.get("tasks")
        return await database.fetchval("SELECT last_used_at FROM api_key")

    first = await used()
    assert first is not None
    assert await used() == first
    await database.execute("UPDATE api_key SET last_used_at = now() - interval '61 s'")
    assert await used() > first


async def test_a_key_lives_ninety_days_unless_told_otherwise(guest: Person, database: Any) -> None:
    await _make(guest)
    await _make(guest, expires_in_days=366)
    rows = await database.fetch("SELECT expires_at - created_at AS life FROM api_key ORDER BY id")
    assert [row["life"].days for row in rows] == [90, 366]


BAD_KEYS: list[Any] = [
    (Role.USER, {"name": ""}, "name"),
    (Role.USER, {"name": "a\x00b"}, "name"),
    (Role.USER, {"expires_in_days": 0}, "expires_in_days"),
    (Role.USER, {"expires_in_days": 367}, "expires_in_days"),
    (Role.USER, {"scopes": []}, "scopes"),
    (Role.USER, {"scopes": ["tasks:all"]}, "scopes[0]"),
    (Role.VIEWER, {"scopes": ["tasks:read", "tasks:write"]}, "scopes"),
]


async def test_a_bad_key_names_the_field_and_is_not_made(
    guest: Person, database: Any, subtests: pytest.Subtests
) -> None:
    for role, change, field in BAD_KEYS:
        with subtests.test(role=role, change=change, field=field):
            await database.execute("UPDATE account SET role = $1", role)
            answer = await guest.post("keys", ROBOT | change)
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == [field]
            assert await database.fetchval("SELECT count(*) FROM api_key") == 0


async def test_an_account_has_at_most_fifty_keys(guest: Person, database: Any) -> None:
    await database.execute(
        'INSERT INTO api_key ("user", name, secret_hash, scopes, expires_at)'
        " SELECT $1, 'one of many', '', '{}', now() + interval '1 day' FROM generate_series(1, 49)",
        guest.id,
    )
    made, _ = await _make(guest)
    assert (await guest.post("keys", ROBOT)).status_code == 409
    await guest.delete(f"keys/{made['id']}")
    assert (await guest.post("keys", ROBOT)).status_code == 201


async def test_pages_hold_every_key_once_newest_first(guest: Person) -> None:
    made = [(await _make(guest))[0]["id"] for _ in range(5)]
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await guest.get("keys", limit=2, **cursor)).json()
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == made[::-1]
