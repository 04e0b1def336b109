"""Tests of registration, signing in, and the validity of access tokens."""

import dataclasses
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest

from shared.settings import Settings
from tests.installed import HOTEL
from tests.integration.api.conftest import Client, Person, SignUp

#: A session id under which no session exists.
NO_SESSION = "00000000-0000-7000-8000-000000000000"


async def test_a_registered_user_signs_in_and_reads_their_account(client: Client) -> None:
    new = {"email": "Ann@Often.Example", "password": "correct horse", "full_name": "Ann"}
    registered = await client.post("/api/v1/auth/register", json=new)
    assert registered.status_code == 201

    login = {"email": "ann@OFTEN.example", "password": "correct horse"}
    answer = await client.post("/api/v1/auth/login", json=login)
    tokens = answer.json()
    assert (answer.status_code, tokens["token_type"], tokens["expires_in"]) == (200, "bearer", 900)

    me = await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert me.json() == registered.json()
    assert me.json() | {"id": 0, "created_at": ""} == {
        "id": 0,
        "email": "ann@often.example",
        "full_name": "Ann",
        "is_active": True,
        "role": "user",
        "created_at": "",
        "verified": not HOTEL,
    }


async def test_a_taken_address_is_refused_however_it_is_written(client: Client, guest: Person) -> None:
    answer = await client.post(
        "/api/v1/auth/register", json={"email": guest.email.upper(), "password": "correct horse"}
    )
    assert answer.status_code == 409
    assert answer.json()["errors"] == [{"field": "email", "rule": "is taken"}]


BAD_REGISTRATIONS: list[Any] = [
    ({"email": "ann"}, "email"),
    ({"email": "ann\x00@often.example"}, "email"),
    ({"email": 5}, "email"),
    ({"password": "x" * 7}, "password"),
    ({"password": "x" * 1025}, "password"),
    ({"password": "Often-Hotels-2026"}, "password"),
    ({"full_name": "A\x00"}, "full_name"),
    ({"role": "administrator"}, "role"),
]


async def test_a_bad_registration_names_the_field(client: Client, subtests: pytest.Subtests) -> None:
    for change, field in BAD_REGISTRATIONS:
        with subtests.test(change=change, field=field):
            body = {"email": "ann@often.example", "password": "correct horse"} | change
            answer = await client.post("/api/v1/auth/register", json=body)
            assert answer.status_code == 400
            assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_wrong_password_and_an_unknown_address_get_the_same_answer(
    client: Client, guest: Person
) -> None:
    answers = [
        await client.post(
            "/api/v1/auth/login",
            json={"email": email, "password": "wrong horse"},
            headers={"X-Request-Id": "one-for-all"},
        )
        for email in (guest.email, "nobody@often.example", "no\x00body")
    ]
    assert [answer.status_code for answer in answers] == [401, 401, 401]
    assert len({answer.text for answer in answers}) == 1


@pytest.mark.real_hashes
async def test_an_unknown_address_takes_as_long_as_a_wrong_password(client: Client, guest: Person) -> None:
    async def fastest(email: str) -> float:
        """Seconds that the fastest of four logins takes.

        They are CPU time of this process, so that other load on the machine does not count.
        """
        took = []
        for _ in range(4):
            began = time.process_time()
            await client.post("/api/v1/auth/login", json={"email": email, "password": "wrong horse"})
            took.append(time.process_time() - began)
        return min(took)

    wrong, unknown = await fastest(guest.email), await fastest("nobody@often.example")
    assert wrong / 2 < unknown < wrong * 2


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(
    client: Client, guest: Person
) -> None:
    async def refresh(token: str) -> Any:
        return await client.post("/api/v1/auth/refresh", json={"refresh_token": token})

    first = await refresh(guest.refresh_token)
    assert first.status_code == 200
    reused = await refresh(guest.refresh_token)
    assert reused.status_code == 401
    stolen = await refresh(first.json()["refresh_token"])
    assert stolen.status_code == 401


async def test_refresh_tokens_are_stored_as_hashes(guest: Person, database: Any) -> None:
    stored = await database.fetchval("SELECT token_hash FROM refresh_token")
    assert len(stored) == 32
    assert guest.refresh_token.encode() not in stored


async def test_a_deactivated_account_is_refused_immediately(
    client: Client, guest: Person, database: Any
) -> None:
    await database.execute("UPDATE account SET is_active = false WHERE id = $1", guest.id)
    assert (await guest.get("auth/me")).status_code == 401
    refreshed = await client.post("/api/v1/auth/refresh", json={"refresh_token": guest.refresh_token})
    assert refreshed.status_code == 401
    login = {"email": guest.email, "password": guest.password}
    assert (await client.post("/api/v1/auth/login", json=login)).status_code == 401


async def test_an_expired_token_is_refused_and_the_answer_says_what_to_do(
    client: Client, guest: Person, settings: Settings
) -> None:
    now = datetime.now(UTC)
    claims = {"sub": str(guest.id), "iat": now - timedelta(hours=1), "exp": now - timedelta(seconds=1)}
    token = jwt.encode(claims | {"sid": NO_SESSION}, settings.secret_key, "HS256")
    answer = await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert "auth/refresh" in answer.json()["detail"]


async def test_without_a_valid_token_nothing_is_answered(client: Client, subtests: pytest.Subtests) -> None:
    for header in [{}, {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic eA=="}]:
        with subtests.test(header=header):
            for path in ("auth/me", "tasks", "tasks/00000000-0000-7000-8000-000000000000"):
                answer = await client.get(f"/api/v1/{path}", headers=header)
                assert answer.status_code == 401
                assert answer.headers["content-type"] == "application/problem+json"


async def test_a_token_for_an_impossible_account_is_refused(
    client: Client, settings: Settings, subtests: pytest.Subtests
) -> None:
    for subject in ["1e23", f"{10**23}", "0", "-1", "ann", ""]:
        with subtests.test(subject=subject):
            assert await _status_with(client, settings, sub=subject, sid=NO_SESSION) == 401


async def test_a_token_without_an_open_session_is_refused(
    client: Client, guest: Person, settings: Settings, subtests: pytest.Subtests
) -> None:
    """Release 0.2 issued access tokens without a session id.

    They are refused, like those of sessions that do not exist.
    """
    for session in [None, "", "x", 5, ["x"], NO_SESSION]:
        with subtests.test(session=session):
            named = {} if session is None else {"sid": session}
            assert await _status_with(client, settings, sub=str(guest.id), **named) == 401


async def test_a_session_of_another_account_is_refused(
    client: Client, guest: Person, sign_up: SignUp, settings: Settings, database: Any
) -> None:
    other = await sign_up()
    session = await database.fetchval('SELECT id FROM session WHERE "user" = $1', other.id)
    assert await _status_with(client, settings, sub=str(guest.id), sid=str(session)) == 401
    assert await _status_with(client, settings, sub=str(other.id), sid=str(session)) == 200


async def _status_with(client: Client, settings: Settings, **claims: Any) -> int:
    times = {"iat": 0, "exp": datetime.now(UTC) + timedelta(hours=1)}
    token = jwt.encode(times | claims, settings.secret_key, "HS256")
    return (await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})).status_code


async def test_a_token_of_another_key_is_refused(
    client: Client, guest: Person, settings: Settings, database: Any
) -> None:
    another = dataclasses.replace(settings, secret_key="another key, long enough for HS256 to take it")
    session = await database.fetchval("SELECT id FROM session")
    assert await _status_with(client, another, sub=str(guest.id), sid=str(session)) == 401


async def test_the_first_administrator_is_created_once(client: Client, database_url: str) -> None:
    def create(password: str) -> "subprocess.CompletedProcess[str]":
        command = [
            sys.executable,
            "-m",
            "services.api.identity.administrator",
            "--email",
            "root@often.example",
        ]
        environment = {"DATABASE_URL": database_url, "ADMIN_PASSWORD": password}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert [create("first horse").returncode, create("other horse").returncode] == [0, 0]
    assert create("short").returncode == 2
    login = {"email": "root@often.example", "password": "first horse"}
    tokens = (await client.post("/api/v1/auth/login", json=login)).json()
    me = await client.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {tokens['access_token']}"})
    assert (me.json()["role"], me.json()["verified"]) == ("administrator", True)
