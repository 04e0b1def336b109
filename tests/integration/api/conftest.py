"""The API over real servers, and people who are signed in to it."""

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
from tests.installed import INSTALLED, NAMES
from tests.platform import VAPID_PRIVATE_KEY, VAULT_KEYS
from tests.roles import as_role
from tests.sample_tasks import Done

Client = AsyncTestClient[Litestar]


class Greet(Params):
    user_id: int
    text: str = "Hello"


#: A task for one account, beside the contracts of the applications. No worker runs it.
GREET = Contract(name="sample.greet", queue="greetings", params=Greet, result=Done, recipient="user_id")


@dataclass
class Person:
    """A signed-in user of the API."""

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


#: The cheapest hash there is. Few tests are about guessing, and each account costs two hashes.
CHEAP = functools.partial(argon2.PasswordHasher, time_cost=1, memory_cost=8, parallelism=1)

SignUp = Callable[[], Awaitable[Person]]


@pytest.fixture(autouse=True)
def _cheap_hashes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API in this process hashes passwords cheaply."""
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
    """An API that serves requests side by side; with `client` they wait for each other.

    It takes the tables over, so `client` must not be used any more.
    """
    served: Any = app.build(settings)
    transport = httpx.ASGITransport(served)
    async with served.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://often") as client:
        yield client


@pytest.fixture
def _all_callers(monkeypatch: pytest.MonkeyPatch) -> list[Callers]:
    """What each API in this process remembers of callers."""
    found: list[Callers] = []
    made = Callers.__init__

    def make(self: Callers, *arguments: Any) -> None:
        made(self, *arguments)
        found.append(self)

    monkeypatch.setattr(Callers, "__init__", make)
    return found


@pytest.fixture
async def database(database_url: str, _all_callers: list[Callers]) -> AsyncIterator[Any]:
    """A connection of the test's own, to look past the API and to end its sessions.

    What it changes of accounts takes effect at once, as what the API changes itself.
    """

    class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is not typed
        async def execute(self, *arguments: Any, **options: Any) -> Any:
            answer = await super().execute(*arguments, **options)
            for callers in _all_callers:
                callers.forget()
            return answer

    connection = await asyncpg.connect(as_role(database_url, SUPERUSER), connection_class=Connection)
    yield connection
    await connection.close()


@pytest.fixture
def sign_up(client: Client, database: Any) -> SignUp:
    async def sign_up() -> Person:
        email, password = f"{secrets.token_hex(8)}@often.example", secrets.token_hex(8)
        answer = await client.post("/api/v1/auth/register", json={"email": email, "password": password})
        # The mail about the address is no task of the person, and tests look at all tasks.
        await database.execute("DELETE FROM task WHERE name = 'email.send_account_mail'")
        tokens = (await client.post("/api/v1/auth/login", json={"email": email, "password": password})).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        return Person(answer.json()["id"], email, password, tokens["refresh_token"], headers, client)

    return sign_up


@pytest.fixture
async def guest(sign_up: SignUp) -> Person:
    return await sign_up()


@pytest.fixture
async def administrator(sign_up: SignUp, database: Any) -> Person:
    person = await sign_up()
    await database.execute("UPDATE account SET role = 'administrator' WHERE id = $1", person.id)
    return person
