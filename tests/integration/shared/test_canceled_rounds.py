"""Tests that a sequence of statements gives its connection back to the pool, whenever it is
canceled.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from shared.errors import ServerRefuses
from shared.ledger.database import Database, in_fresh_context
from tests.eventually import eventually

PID = "SELECT pg_backend_pid() AS pid"
SIZE = 2
ROUNDS = 200
#: Number of iterations of the event loop within which a sequence of four statements ends.
TURNS = 500


async def _a_statement(database: Database) -> None:
    await database.run("SELECT 1")


async def _a_transaction(database: Database) -> None:
    async with database.short_transaction():
        pass


async def take_turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def round_of(database: Database) -> None:
    """Run a statement on its own, one in a transaction, and one in a savepoint, which fails and is
    rolled back.
    """
    await database.run("SELECT 1")
    async with database.short_transaction():
        await database.run("SELECT 2")
        try:
            async with database.all_or_nothing():
                await database.run("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            return


@pytest.mark.parametrize("kind", [Database.for_service, Database.for_recorder, Database.for_tasks])
async def test_a_round_that_is_canceled_at_any_moment_gives_its_connection_back(
    database_url: str, kind: Callable[[str, str], Database], caplog: pytest.LogCaptureFixture
) -> None:
    database, chance = kind(database_url, "test"), random.Random(kind.__name__)
    await database.open(size=SIZE)
    pool = database.engine.pool
    assert pool is not None
    await round_of(database)
    for _ in range(ROUNDS):
        round_ = asyncio.create_task(round_of(database))
        # Cancel the task twice, because it may still be rolling back when it is canceled again.
        for turns in (TURNS, TURNS // 10):
            await take_turns(chance.randrange(turns))
            round_.cancel()
        await asyncio.wait([round_])

    async def free() -> bool:
        return bool(pool.get_size() == pool.get_idle_size())

    await eventually(free)
    async with asyncio.timeout(10):
        held = [await pool.acquire() for _ in range(SIZE)]
        for connection in held:
            assert await connection.fetchval("SELECT 1") == 1
            await pool.release(connection)
    await database.close()
    assert "was cut" not in caplog.text


async def test_a_transaction_whose_connection_is_lost_is_not_the_current_one_afterwards(
    database_url: str,
) -> None:
    database = Database.for_service(database_url, "test")
    await database.open(size=1)
    with pytest.raises(Exception, match="connection"):
        async with database.transaction():
            await database.run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert not database.in_transaction()
    assert await database.run("SELECT 1 AS one") == [{"one": 1}]
    await database.close()


@pytest.mark.parametrize("waits", [_a_statement, _a_transaction])
async def test_a_wait_for_a_connection_that_times_out_replaces_no_connection(
    database_url: str, waits: Callable[[Database], Coroutine[Any, Any, None]]
) -> None:
    """The wait times out only because all connections are in use.

    The server may be well, so no connection is replaced.
    """
    database = Database.for_service(database_url, "test")
    database.limit_s = 0.2
    await database.open(size=1)
    async with database.transaction():
        (before,) = await database.run(PID)
        with pytest.raises(ServerRefuses, match="in use"):
            await in_fresh_context(waits(database))
    assert await database.run(PID) == [before]
    await database.close()
