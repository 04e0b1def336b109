"""Fixtures of the tests that visit every route: the routes in batches, and people who own one of
each thing.
"""

import dataclasses
import functools
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.api import app
from services.api.bulk.tokens import Tokens
from services.api.identity import rights
from shared.identity.tables import Role
from shared.settings import Settings
from tests.installed import NAMES
from tests.integration.api.conftest import CHEAP, Client, Person
from tests.integration.api.examples import Belongings
from tests.integration.api.rights.belongings import belongings_of
from tests.integration.api.rights.routes import PUBLIC
from tests.platform import VAULT_KEYS

Settle = Callable[[Role], Awaitable[Belongings]]

#: Number of routes that are tested with one API instance. Building an instance takes as long as
#: testing three routes.
BATCH = 8
PASSWORD = secrets.token_hex()
HASH = CHEAP().hash(PASSWORD)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "routes" not in metafunc.fixturenames:
        return
    routes = _routes()
    if "protected" in metafunc.function.__name__:
        routes = [route for route in routes if route not in PUBLIC]
    batches = [routes[start : start + BATCH] for start in range(0, len(routes), BATCH)]
    metafunc.parametrize("routes", batches, ids=[f"from {batch[0]}" for batch in batches])


@functools.cache
def _routes() -> list[str]:
    nowhere = Settings(
        database_url="postgres://x",
        redis_url="redis://x",
        secret_key=secrets.token_hex(),
        vault_keys=VAULT_KEYS,
        applications=NAMES,
    )
    built = app.build(nowhere)
    return sorted({route for route, _ in rights.routes(built) if " /console" not in route})


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with rate limits that no test reaches."""
    many = "1000000/minute"
    return dataclasses.replace(settings, rate_limit_sign_in=many, rate_limit_address=many)


@pytest.fixture
async def settle(client: Client, database: Any, settings: Settings) -> Settle:
    """A function that creates a person who owns one of each thing.

    Account ids are long numbers, so that a search for one in a text finds nothing else.
    """
    await database.execute("SELECT setval('account_id_seq', $1)", 10**15 + secrets.randbelow(10**15))
    # The last administrator cannot be erased. With a second one, the person can be erased even as
    # an administrator.
    await database.execute(
        "INSERT INTO account (email, password_hash, role)"
        " VALUES ('spare@often.example', '-', 'administrator')"
    )

    async def settle(role: Role) -> Belongings:
        email = f"{secrets.token_hex(8)}@often.example"
        account_id = await database.fetchval(
            "INSERT INTO account (email, password_hash) VALUES ($1, $2) RETURNING id", email, HASH
        )
        login = {"email": email, "password": PASSWORD}
        tokens = (await client.post("/api/v1/auth/login", json=login)).json()
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        person = Person(account_id, email, PASSWORD, tokens["refresh_token"], headers, client)
        belongings = await belongings_of(person, database, Tokens(settings.secret_key))
        # The role is set last, because not every role may create all of these things through the
        # API.
        await database.execute("UPDATE account SET role = $1 WHERE id = $2", role, account_id)
        return belongings

    return settle
