"""Tests of a DATABASE_URL with several hosts.

A host that does not answer costs some seconds, and a standby is skipped.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.worker.claims.heartbeat import Heartbeat
from services.worker.resources import Resources
from shared.errors import ServerAway, ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.ids import uuid7
from shared.settings import Settings
from shared.vault import Vault
from tests import own_postgres
from tests.eventually import eventually
from tests.own_postgres import Running, ask, copied, serving, url_of

WHERE = "SELECT current_setting('port')::int AS port"


@pytest.fixture
async def pair(folder: Path) -> AsyncIterator[tuple[Running, Running]]:
    """A primary Postgres, and a standby that replicates it."""
    own = folder / secrets.token_hex(4)
    primary = own_postgres.settle(own / "primary")
    async with (
        serving(primary) as first,
        serving(copied(primary, own / "standby", standby=True)) as second,
    ):
        yield first, second


async def port_of(database: Database) -> int:
    (row,) = await database.run(WHERE)
    return int(row["port"])


async def answer(database: Database) -> int | None:
    try:
        return await port_of(database)
    except ServerUnavailable:
        return None


async def test_a_standby_is_skipped_and_a_silent_primary_is_replaced_by_the_promoted_standby(
    pair: tuple[Running, Running],
) -> None:
    primary, standby = pair
    database = Database.for_service(url_of([standby.server, primary.server], "postgres"), "test")
    await database.open(size=3)
    assert await port_of(database) == primary.server.port
    with primary.frozen():
        ask(standby.server, "SELECT pg_promote()")
        began = time.monotonic()
        found = await eventually(lambda: answer(database))
        lasted = time.monotonic() - began
        assert found == standby.server.port
        # The statement runs into its limit of 5 s, and connecting to the silent host takes another
        # 2 s.
        assert lasted < 9
        began = time.monotonic()
        other = await database.connect()
        assert time.monotonic() - began < 1  # the client first tries the host that worked last
        await other.close()
    await database.close()


async def test_a_body_does_not_wait_for_a_silent_primary_that_the_ledger_has_left(
    pair: tuple[Running, Running],
) -> None:
    primary, standby = pair
    url = url_of([primary.server, standby.server], "postgres")
    settings = Settings(database_url=url, redis_url="redis://127.0.0.1")
    resources = Resources.over(settings, {}, Vault())
    ledger, tasks = resources.ledger, resources.database
    for database in (ledger, tasks):
        await database.open(size=1)
        await port_of(database)
    with primary.frozen():
        ask(standby.server, "SELECT pg_promote()")
        began = time.monotonic()
        body = asyncio.create_task(port_of(tasks))
        await eventually(lambda: answer(ledger))
        with pytest.raises(ServerAway):
            await body
        assert time.monotonic() - began < 12
    for database in (ledger, tasks):
        await database.close()


async def test_the_lock_of_a_worker_moves_to_the_promoted_standby(pair: tuple[Running, Running]) -> None:
    primary, standby = pair
    database = Database.for_recorder(url_of([primary.server, standby.server], "postgres"), "test")
    await database.open(size=1)
    heartbeat = Heartbeat(
        uuid7(database.now()),
        database,
        ["default"],
        1,
        declared_dead=lambda: None,
        told=lambda paused, asked: None,
    )
    await heartbeat.hold_lock()
    assert ask(primary.server, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "1"
    with primary.frozen():
        ask(standby.server, "SELECT pg_promote()")
        began = time.monotonic()
        await heartbeat.hold_lock()
        assert time.monotonic() - began < 5.5
        assert ask(standby.server, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "1"
    assert heartbeat._lock is not None
    heartbeat._lock.terminate()  # simulate the death of the process that holds the lock
    await database.close()


async def test_an_error_lists_the_state_of_each_host_when_none_serves(pair: tuple[Running, Running]) -> None:
    _, standby = pair
    nobody = own_postgres.settle(standby.server.home / "nobody")
    database = Database.for_service(url_of([standby.server, nobody], "postgres"), "test")
    with pytest.raises(ServerAway) as away:
        await port_of(database)
    assert f"{standby.server.port}: it is a standby; " in str(away.value)
    assert "Connect call failed" in str(away.value)
