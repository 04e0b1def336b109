"""Tests of the lock on a mail address after too many wrong passwords, whether or not an account has
the address.
"""

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from services.api.audit.actor import Actor
from services.api.audit.per_minute import PerMinute
from services.api.identity import passwords
from services.api.identity.lockout import Attempt
from services.api.identity.logins import Logins
from services.api.identity.sign_in_refusals import LoginLocked
from shared.ledger.database import Database
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, side_by_side


@pytest.fixture
async def opened(settings: Settings) -> AsyncIterator[Database]:
    """A database connection pool like that of an API process."""
    opened = Database.for_service(settings.database_url, "test")
    await opened.open(size=4)
    yield opened
    await opened.close()


async def _login(client: httpx.AsyncClient, email: str, password: str) -> Any:
    return await client.post("/api/v1/auth/login", json={"email": email, "password": password})


async def _lock_out(client: Client, email: str) -> None:
    for _ in range(5):
        assert (await _login(client, email, "wrong horse")).status_code == 401


@pytest.mark.parametrize("known", [True, False])
async def test_after_five_wrong_passwords_even_the_right_one_is_refused(
    client: Client, guest: Person, known: bool
) -> None:
    email = guest.email if known else "nobody@often.example"
    await _lock_out(client, email)
    refused = [
        await _login(client, email.upper(), guest.password),
        await _login(client, email, "wrong horse"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["type"]) == (429, "urn:often:problem:login-locked")
        assert 50 <= int(answer.headers["retry-after"]) <= 60


async def test_another_process_refuses_as_well(client: Client, guest: Person, settings: Settings) -> None:
    await _lock_out(client, guest.email)
    async with AsyncTestClient(app.build(settings)) as other:
        assert (await _login(other, guest.email, guest.password)).status_code == 429


async def test_others_sign_in_meanwhile(client: Client, guest: Person) -> None:
    await _lock_out(client, "nobody@often.example")
    assert (await _login(client, guest.email, guest.password)).status_code == 200


async def test_the_lock_ends_and_the_next_wrong_password_locks_for_longer(
    client: Client, guest: Person, database: Any
) -> None:
    await _lock_out(client, guest.email)
    await database.execute("UPDATE login_failure SET locked_until = now()")
    assert (await _login(client, guest.email, "wrong horse")).status_code == 401
    answer = await _login(client, guest.email, guest.password)
    assert answer.status_code == 429
    assert 110 <= int(answer.headers["retry-after"]) <= 120
    await database.execute("UPDATE login_failure SET locked_until = now()")
    assert (await _login(client, guest.email, guest.password)).status_code == 200


async def test_the_right_password_resets_the_count(client: Client, guest: Person, database: Any) -> None:
    for _ in range(3):
        for _ in range(4):
            await _login(client, guest.email, "wrong horse")
        assert (await _login(client, guest.email, guest.password)).status_code == 200
    assert await database.fetchval("SELECT count(*) FROM login_failure") == 0


async def test_simultaneous_right_passwords_are_admitted(guest: Person, settings: Settings) -> None:
    async with side_by_side(settings) as client:
        answers = await asyncio.gather(
            *(_login(client, guest.email, guest.password) for _ in range(passwords.MAX_PLACES_OF_ONE))
        )
    assert {answer.status_code for answer in answers} == {200}


class _CountingPasswords(passwords.Passwords):
    checked = 0

    async def fits(self, password: str, stored: str | None) -> bool:
        self.checked += 1
        return await super().fits(password, stored)


async def test_processes_count_attempts_before_they_check_them(
    guest: Person, opened: Database, database: Any
) -> None:
    """Each `Logins` represents one API process. All of them check a password at the same time."""
    checker = _CountingPasswords()
    stranger = Actor(network="192.0.2.1")
    with contextlib.closing(checker):
        answers = await asyncio.gather(
            *(
                Logins(opened, checker, PerMinute()).authenticate(guest.email, "wrong horse", stranger)
                for _ in range(12)
            ),
            return_exceptions=True,
        )
    assert (checker.checked, answers.count(None)) == (5, 5)
    assert sum(isinstance(answer, LoginLocked) for answer in answers) == 7
    assert await database.fetchval("SELECT max(locks) FROM login_failure") == 1


async def test_guessing_with_a_token_locks_too(guest: Person) -> None:
    change = {"current_password": "wrong horse", "new_password": "battery staple"}
    statuses = [(await guest.post("auth/password", change)).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429]


async def test_addresses_are_stored_as_hashes_and_forgotten(client: Client, database: Any) -> None:
    async def stored() -> set[bytes]:
        return {row[0] for row in await database.fetch("SELECT address_hash FROM login_failure")}

    await _login(client, "nobody@often.example", "wrong horse")
    before = await stored()
    assert {len(digest) for digest in before} == {32}
    await database.execute("UPDATE login_failure SET forget_at = now() - interval '1 s'")
    await _login(client, "nobody-else@often.example", "wrong horse")
    assert not before & await stored()


async def test_attackers_lock_new_networks_but_not_a_known_one(
    guest: Person, settings: Settings, opened: Database
) -> None:
    for number in range(50):
        await Attempt(opened, guest.email, f"198.51.100.{number}", is_known=False).begin()
    served: Any = app.build(settings)
    async with served.lifespan():
        answers = {}
        for host in ("testclient", "203.0.113.7"):
            transport = httpx.ASGITransport(served, client=(host, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://often") as client:
                answers[host] = await _login(client, guest.email, guest.password)
    # From a network in which the owner has signed in before, the sign-in still works.
    assert answers["testclient"].status_code == 200
    refused = answers["203.0.113.7"]
    assert (refused.status_code, refused.json()["type"]) == (429, "urn:often:problem:login-locked")
    assert 800 <= int(refused.headers["retry-after"]) <= 900


async def test_a_right_password_at_a_new_place_takes_its_own_count_back(
    guest: Person, opened: Database, database: Any
) -> None:
    stranger = Attempt(opened, guest.email, "198.51.100.1", is_known=False)
    owner = Attempt(opened, guest.email, "203.0.113.7", is_known=False)
    await stranger.begin()
    await owner.begin()
    await owner.succeeded()
    rows = await database.fetch("SELECT cardinality(failed_at) AS counted FROM login_failure")
    # Only the stranger's attempt remains. It is counted twice: once for the mail address, and once
    # for the network.
    assert [row["counted"] for row in rows] == [1, 1]
    await stranger.succeeded()
    assert await database.fetchval("SELECT count(*) FROM login_failure") == 0


async def test_wrong_passwords_count_even_without_redis(
    client: Client, guest: Person, settings: Settings
) -> None:
    away = dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0")
    async with AsyncTestClient(app.build(away)) as without:
        await _lock_out(without, guest.email)
        assert (await _login(without, guest.email, guest.password)).status_code == 429
