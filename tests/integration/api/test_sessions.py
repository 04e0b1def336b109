"""Tests of sessions: they are renewed by tokens that work once, and end by a reused token, a logout
or a new password.
"""

import asyncio
from datetime import timedelta
from typing import Any

import argon2
import httpx
import pytest

from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, SignUp, side_by_side


async def _login(person: Person) -> dict[str, Any]:
    login = {"email": person.email, "password": person.password}
    answer = await person.client.post("/api/v1/auth/login", json=login)
    assert answer.status_code == 200
    tokens: dict[str, Any] = answer.json()
    return tokens


async def _refresh(client: httpx.AsyncClient, token: str) -> Any:
    return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})


async def _is_out(person: Person) -> None:
    """Check that the person's access token is refused, above all for creating an API key."""
    key = {"name": "a robot", "scopes": ["tasks:read"]}
    answers = [await person.get("auth/me"), await person.post("keys", key)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert "session has ended" in answers[0].json()["detail"]


def _bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens['access_token']}"}


async def test_a_session_lives_through_many_renewals(client: Client, guest: Person) -> None:
    token, seen = guest.refresh_token, set()
    for _ in range(5):
        answer = await _refresh(client, token)
        assert answer.status_code == 200
        seen.add(token)
        token = answer.json()["refresh_token"]
        assert token not in seen


async def test_a_spent_token_ends_its_session_and_no_other(client: Client, guest: Person) -> None:
    other = await _login(guest)
    following = (await _refresh(client, guest.refresh_token)).json()["refresh_token"]
    assert (await _refresh(client, guest.refresh_token)).status_code == 401
    assert (await _refresh(client, following)).status_code == 401
    assert (await _refresh(client, other["refresh_token"])).status_code == 200


async def test_of_several_simultaneous_renewals_one_wins_and_none_breaks(
    guest: Person, settings: Settings
) -> None:
    async with side_by_side(settings) as guest.client:
        for _ in range(5):
            token = (await _login(guest))["refresh_token"]
            answers = await asyncio.gather(*(_refresh(guest.client, token) for _ in range(4)))
            assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]


async def test_an_expired_or_unknown_token_is_refused_and_says_what_to_do(
    client: Client, guest: Person, database: Any
) -> None:
    await database.execute("UPDATE refresh_token SET expires_at = now()")
    for token in (guest.refresh_token, "unknown"):
        answer = await _refresh(client, token)
        assert answer.status_code == 401
        assert "Sign in again" in answer.json()["detail"]


@pytest.mark.parametrize("token", ["its own", "unknown"])
async def test_logging_out_ends_the_session_at_once_and_no_other(
    client: Client, guest: Person, token: str
) -> None:
    other = await _login(guest)
    following = (await _refresh(client, guest.refresh_token)).json()["refresh_token"]
    shown = guest.refresh_token if token == "its own" else token
    assert (await guest.post("auth/logout", {"refresh_token": shown})).status_code == 204
    await _is_out(guest)
    assert (await _refresh(client, following)).status_code == 401
    assert (await _refresh(client, other["refresh_token"])).status_code == 200


async def test_logging_out_also_ends_the_session_of_another_refresh_token(
    client: Client, guest: Person, sign_up: SignUp
) -> None:
    other, stranger = await _login(guest), await sign_up()
    assert (await stranger.post("auth/logout", {"refresh_token": guest.refresh_token})).status_code == 204
    assert (await guest.post("auth/logout", {"refresh_token": other["refresh_token"]})).status_code == 204
    assert (await _refresh(client, other["refresh_token"])).status_code == 401


async def test_logging_out_everywhere_ends_all_sessions_at_once(client: Client, guest: Person) -> None:
    other = await _login(guest)
    assert (await guest.post("auth/logout-all", None)).status_code == 204
    await _is_out(guest)
    guest.headers = _bearer(other)
    await _is_out(guest)
    for token in (guest.refresh_token, other["refresh_token"]):
        assert (await _refresh(client, token)).status_code == 401


async def test_a_new_password_ends_all_sessions_and_replaces_the_old_one(
    client: Client, guest: Person
) -> None:
    change = {"current_password": guest.password, "new_password": "battery staple"}
    assert (await guest.post("auth/password", change)).status_code == 204
    await _is_out(guest)
    assert (await _refresh(client, guest.refresh_token)).status_code == 401
    old = {"email": guest.email, "password": guest.password}
    assert (await client.post("/api/v1/auth/login", json=old)).status_code == 401
    guest.password = "battery staple"
    await _login(guest)


async def test_a_bad_change_of_password_names_the_field_and_changes_nothing(
    client: Client, guest: Person
) -> None:
    good = {"current_password": guest.password, "new_password": "battery staple"}
    for change, field in (
        ({"current_password": "wrong horse"}, "current_password"),
        ({"new_password": "short"}, "new_password"),
        ({"new_password": "password123"}, "new_password"),
        ({"new_password": guest.email}, "new_password"),
    ):
        answer = await guest.post("auth/password", good | change)
        assert answer.status_code == 400
        assert [error["field"] for error in answer.json()["errors"]] == [field]
    await _login(guest)
    assert (await _refresh(client, guest.refresh_token)).status_code == 200


async def test_a_session_ends_after_its_life_however_often_it_is_renewed(
    client: Client, guest: Person, database: Any
) -> None:
    await database.execute("UPDATE session SET created_at = now() - interval '30 days' + interval '1 hour'")
    tokens = (await _refresh(client, guest.refresh_token)).json()
    left = await database.fetchval("SELECT max(expires_at) - now() FROM refresh_token WHERE spent_at IS NULL")
    assert left < timedelta(hours=1)
    guest.headers = _bearer(tokens)
    assert (await guest.get("auth/me")).status_code == 200
    await database.execute("UPDATE session SET created_at = created_at - interval '1 hour'")
    await _is_out(guest)
    assert (await _refresh(client, tokens["refresh_token"])).status_code == 401


@pytest.mark.real_hashes
async def test_a_hash_of_former_parameters_is_renewed_at_sign_in(guest: Person, database: Any) -> None:
    former = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(guest.password)
    await database.execute("UPDATE account SET password_hash = $1", former)
    await _login(guest)
    stored = await database.fetchval("SELECT password_hash FROM account")
    assert not argon2.PasswordHasher().check_needs_rehash(stored)
    await _login(guest)
    assert await database.fetchval("SELECT password_hash FROM account") == stored


async def test_expired_sessions_are_removed_at_the_next_login(guest: Person, database: Any) -> None:
    await database.execute("UPDATE refresh_token SET expires_at = now()")
    await _login(guest)
    assert await database.fetchval("SELECT count(*) FROM session") == 1
    assert await database.fetchval("SELECT count(*) FROM refresh_token") == 1
