"""Tests of pooled connections that the server has closed, before the database driver has noticed
that.
"""

import struct
from collections.abc import AsyncIterator

import pytest

from shared.ledger.database import Database

SIZE = 3
_FIELDS = b"SFATAL\0C57P01\0Mterminating connection due to administrator command\0\0"
#: The last protocol message that Postgres sends on a connection that an administrator terminates.
TERMINATED = b"E" + struct.pack("!i", 4 + len(_FIELDS)) + _FIELDS


@pytest.fixture
async def closed(database_url: str) -> AsyncIterator[Database]:
    """A pool of connections that have all received Postgres' last message.

    The driver has not noticed yet that they are closed.
    """
    database = Database.for_service(database_url, "test")
    await database.open(size=SIZE)
    pool = database.engine.pool
    assert pool is not None
    connections = [await pool.acquire() for _ in range(SIZE)]
    for connection in connections:
        connection._con._protocol.data_received(TERMINATED)
        await pool.release(connection)
    yield database
    await database.close()


async def test_a_statement_goes_out_on_another_connection(closed: Database) -> None:
    assert await closed.run("SELECT 1 AS one") == [{"one": 1}]
    assert await closed.run("SELECT 2 AS two") == [{"two": 2}]


async def test_a_transaction_begins_on_another_connection(closed: Database) -> None:
    async with closed.short_transaction():
        assert await closed.run("SELECT 1 AS one") == [{"one": 1}]
    assert not closed.in_transaction()
