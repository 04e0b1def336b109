"""Fixtures for tests of the API with a real Postgres and Redis, and with signed-in users."""

import functools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import argon2
import asyncpg
import httpx
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from local.postgres import SUPERUSER
from services.api import app
from services.api.identity.callers import Callers
from shared import applications
from shared import settings as environment
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract, Params
from shared.roles import API
from shared.settings import Settings
from tests import quick_routes
from tests.installed import INSTALLED, NAMES
from tests.platform import VAPID_PRIVATE_KEY, VAULT_KEYS
from tests.roles import as_role
from tests.sample_tasks import Done

# Most of these tests build an API, and many build several.
quick_routes.install()

Client = AsyncTestClient[Litestar]


class Greet(Params):
    user_id: int
    text: str = "Hello"


#: A test contract whose tasks are for one account. It exists in addition to the contracts of the
#: applications. No worker runs such tasks.
GREET = Contract(name="sample.greet", queue="greetings", params=Greet, result=Done, recipient="user_id")


@dataclass
class Person:
    """A user who is signed in to the API, with the password and tokens."""

    id: int
    email: str
    password: str
    refresh_token: str
    headers: dict[str, str]
    client: httpx.AsyncClient

    async def get(self, path: str, **params: Any) -> Any:
        return await self.client.get(f"/api/v1/{path}", params=params, headers=self.headers)

    async def post(self, path: str, body: Any) -> Any:
        return await self.client.post(f"/api/v1/{path}", json=body, headers=self.headers)

    async def patch(self, path: str, body: Any) -> Any:
        return await self.client.patch(f"/api/v1/{path}", json=body, headers=self.headers)

    async def delete(self, path: str) -> Any:
        return await self.client.delete(f"/api/v1/{path}", headers=self.headers)


#: A password hash that costs almost nothing. Each test account computes two hashes, and only a few
#: tests are about guessing passwords.
CHEAP = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)

SignUp = Callable[[], Awaitable[Person]]


@pytest.fixture(autouse=True)
def _cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make password hashes cheap in this process, except for tests with the marker
    `real_hashes`.
    """
    if request.node.get_closest_marker("real_hashes") is None:
        monkeypatch.setattr(argon2, "PasswordHasher", CHEAP)


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return environment.read(
        {
            applications.VARIABLE: NAMES,
            "DATABASE_URL": as_role(database_url, API),
            "REDIS_URL": as_role(redis_url, API),
            "SECRET_KEY": secrets.token_hex(32),
            "OFTEN_VAULT_KEYS": VAULT_KEYS,
            "VAPID_PRIVATE_KEY": VAPID_PRIVATE_KEY,
        }
    )


@pytest.fixture
async def client(settings: Settings, _all_callers: list[Callers]) -> AsyncIterator[Client]:
    contracts = Catalogue([*catalogue.load(INSTALLED).by_name.values(), GREET])
    async with AsyncTestClient(app.build(settings, contracts)) as client:
        yield client


@asynccontextmanager
async def side_by_side(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An API that serves requests concurrently. The fixture `client`, in contrast, handles one
    request at a time.
    """
    served: Any = app.build(settings)
    transport = httpx.ASGITransport(served)
    async with served.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://often") as client:
        yield client


@pytest.fixture
def _all_callers(monkeypatch: pytest.MonkeyPatch) -> list[Callers]:
    """The caches of authenticated callers of all APIs in this process."""
    found: list[Callers] = []
    made = Callers.__init__

    def make(self: Callers, *arguments: Any) -> None:
        made(self, *arguments)
        found.append(self)

    monkeypatch.setattr(Callers, "__init__", make)
    return found


def _forgetting(all_callers: list[Callers]) -> type[Any]:
    """Create a class of database connections that notifies the APIs in this process. After each
    statement that may change data, they forget their cached callers, so that the change takes
    effect immediately.
    """

    def watched(method: Any) -> Any:
        async def run(self: Any, query: str, *arguments: Any, **options: Any) -> Any:
            answer = await method(self, query, *arguments, **options)
            if not query.lstrip().startswith("SELECT"):
                for callers in all_callers:
                    callers.forget()
            return answer

        return run

    names = ("execute", "executemany", "fetch", "fetchrow", "fetchval")
    methods = {name: watched(getattr(asyncpg.Connection, name)) for name in names}
    return type("Connection", (asyncpg.Connection,), methods)


@pytest.fixture
async def database(database_url: str, _all_callers: list[Callers]) -> AsyncIterator[Any]:
    """A database connection for the test itself. When a test changes data with it, the APIs in this
    process forget their cached callers.
    """

    kind = _forgetting(_all_callers)
    connection = await asyncpg.connect(as_role(database_url, SUPERUSER), connection_class=kind)
    yield connection
    await connection.close()


@pytest.fixture
def sign_up(client: Client, database: Any) -> SignUp:
    async def sign_up() -> Person:
        email, password = f"{secrets.token_hex(8)}@often.example", secrets.token_hex(8)
        answer = await client.post("/api/v1/auth/register", json={"email": email, "password": password})
        # The task that mails a confirmation of the address is deleted, because some tests look at
        # all tasks.
        await database.execute("DELETE FROM task WHERE name = 'email.send_account_mail'")
        tokens = (await client.post("/api/v1/auth/login", json={"email": email, "password": password})).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return Person(answer.json()["id"], email, password, tokens["refresh_token"], headers, client)

    return sign_up


@pytest.fixture
async def guest(sign_up: SignUp) -> Person:
    return await sign_up()


@pytest.fixture
async def operator(sign_up: SignUp, database: Any) -> Person:
    return await _with_role(sign_up, database, "operator")


@pytest.fixture
async def administrator(sign_up: SignUp, database: Any) -> Person:
    return await _with_role(sign_up, database, "administrator")


async def _with_role(sign_up: SignUp, database: Any, role: str) -> Person:
    person = await sign_up()
    await database.execute("UPDATE account SET role = $1 WHERE id = $2", role, person.id)
    return person
