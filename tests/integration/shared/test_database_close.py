"""Tests of closing a connection pool while one of its connections is in use."""

import asyncio

import asyncpg
import pytest

from shared.ledger import database as ledger_database
from shared.ledger.database import Database


async def test_a_connection_that_is_not_given_back_is_cut(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ledger_database, "CLOSE_TIMEOUT_S", 0.2)
    database = Database.for_service(database_url, "test")
    await database.open(size=2)
    pool = database.engine.pool
    assert pool is not None
    kept = await pool.acquire()
    async with asyncio.timeout(10):
        await database.close()
    with pytest.raises(asyncpg.InterfaceError):
        await kept.fetch("SELECT 1")
    assert "was cut" in caplog.text
