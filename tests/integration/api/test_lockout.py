"""Too many wrong passwords: the address rests, whether somebody has it or not."""

import asyncio
import dataclasses
from typing import Any

import httpx
import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from services.api.http.refusals import LoginLocked
from services.api.identity import accounts, lockout, logins
from services.api.identity.account_schemas import Registration
from services.api.identity.passwords import Passwords
from shared.identity.tables import TABLES
from shared.ledger.database import Database
from shared.settings import Settings
from tests.integration.api.conftest import Client, Person, side_by_side


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


async def test_many_guesses_at_once_lock_once(guest: Person, settings: Settings, database: Any) -> None:
    async with side_by_side(settings) as client:
        answers = await asyncio.gather(*(_login(client, guest.email, "wrong horse") for _ in range(12)))
        assert {answer.status_code for answer in answers} <= {401, 429}
        assert (await _login(client, guest.email, guest.password)).status_code == 429
    # Those that were under way when the fifth one locked don't make the lock longer.
    assert await database.fetchval("SELECT locks FROM login_failure") == 1


class _SlowPasswords(Passwords):
    """While one password is checked, five wrong ones are counted."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    async def fits(self, password: str, stored: str | None) -> bool:
        for _ in range(5):
            await lockout.count(self._database, lockout.key("ann@often.example"))
        return await super().fits(password, stored)


async def test_a_right_password_that_was_under_way_comes_too_late(database_url: str) -> None:
    database = Database.for_service(database_url, "test")
    database.bind(TABLES)
    passwords = _SlowPasswords(database)
    await accounts.register(database, passwords, Registration("ann@often.example", "correct horse"))
    with pytest.raises(LoginLocked):
        await logins.authenticate(database, passwords, "ann@often.example", "correct horse")
    passwords.close()


async def test_many_right_passwords_at_once_are_let_in(guest: Person, settings: Settings) -> None:
    async with side_by_side(settings) as client:
        answers = await asyncio.gather(*(_login(client, guest.email, guest.password) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}


async def test_guessing_with_a_token_locks_too(guest: Person) -> None:
    change = {"current_password": "wrong horse", "new_password": "battery staple"}
    statuses = [(await guest.post("auth/password", change)).status_code for _ in range(6)]
    assert statuses == [400] * 5 + [429]


async def test_addresses_are_stored_as_hashes_and_forgotten(client: Client, database: Any) -> None:
    await _login(client, "nobody@often.example", "wrong horse")
    stored = await database.fetchval("SELECT address_hash FROM login_failure")
    assert len(stored) == 32
    await database.execute("UPDATE login_failure SET forget_at = now() - interval '1 s'")
    await _login(client, "nobody-else@often.example", "wrong horse")
    assert stored not in {row[0] for row in await database.fetch("SELECT address_hash FROM login_failure")}


async def test_without_redis_wrong_passwords_count_all_the_same(
    client: Client, guest: Person, settings: Settings
) -> None:
    away = dataclasses.replace(settings, redis_url="redis://127.0.0.1:1/0")
    async with AsyncTestClient(app.build(away)) as without:
        await _lock_out(without, guest.email)
        assert (await _login(without, guest.email, guest.password)).status_code == 429
