"""Tests that a process warns at its start if it may open more connections than Postgres has
left.
"""

import asyncio
import contextvars

import asyncpg
import pytest

from shared.errors import ServerRefuses
from shared.ledger import connections
from shared.ledger.connections import Connections
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from tests.platform import Platform


async def free(platform: Platform) -> int:
    (row,) = await platform.rows(connections.FREE)
    return int(row["free"])


async def test_connections_in_use_and_reserved_ones_are_not_free(platform: Platform) -> None:
    (limits,) = await platform.rows(
        "SELECT current_setting('max_connections')::int AS all, "
        "current_setting('superuser_reserved_connections')::int AS reserved"
    )
    before = await free(platform)
    assert before <= limits["all"] - limits["reserved"]
    other = await asyncpg.connect(platform.database_url)
    assert await free(platform) == before - 1
    await other.close()


async def test_a_process_that_may_open_more_than_is_free_warns(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    enough = Connections("worker", {"ledger": await free(platform)})
    await connections.warn_when_scarce(platform.database, enough)
    assert not caplog.records
    too_many = Connections("worker", {"ledger": 4, "task code": enough.total})
    await connections.warn_when_scarce(platform.database, too_many)
    (record,) = caplog.records
    assert f"this worker may open {too_many.total} connections" in record.getMessage()
    assert f"only {enough.total} of max_connections" in record.getMessage()


async def test_a_process_without_postgres_does_not_stop(caplog: pytest.LogCaptureFixture) -> None:
    database = Database.for_service("postgres://nobody@127.0.0.1:1/nothing", "test")
    await connections.warn_when_scarce(database, connections.SCHEDULER)
    assert "cannot compare the connections of this scheduler" in caplog.text


async def test_a_comparison_that_fails_is_logged_and_stops_nothing(
    platform: Platform, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FREE", Statement("SELECT missing_column"))
    await connections.warn_when_scarce(platform.database, connections.SCHEDULER)
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is asyncpg.UndefinedColumnError


async def test_a_statement_that_found_all_connections_in_use_does_not_say_that_postgres_is_away(
    database_url: str,
) -> None:
    database = Database.for_service(database_url, "test")
    database.limit_s = 0.5
    await database.open(size=1)
    async with database.transaction():
        waiting = asyncio.create_task(database.run("SELECT 1"), context=contextvars.Context())
        with pytest.raises(ServerRefuses, match="all connections of this process are in use"):
            await waiting
    assert await database.run("SELECT 1 AS one") == [{"one": 1}]
    await database.close()


async def test_a_statement_that_is_too_slow_does_not_say_that_postgres_is_away(database_url: str) -> None:
    database = Database.for_service(database_url, "test")
    with pytest.raises(ServerRefuses, match="statement timeout"):
        await database.run("SELECT pg_sleep(6)")


def test_a_worker_needs_a_connection_for_each_thread() -> None:
    assert connections.of_worker(8).total == connections.of_worker(1).total + 7


async def test_another_event_loop_is_refused_before_it_touches_a_connection(database_url: str) -> None:
    database = Database.for_tasks(database_url, "test")
    await database.open(size=1)
    assert await database.run("SELECT 1 AS one") == [{"one": 1}]

    async def in_transaction() -> None:
        async with database.transaction():
            """Never begun."""

    for work in (database.run("SELECT 1"), in_transaction()):
        with pytest.raises(RuntimeError, match=r"in a task body that is not async, use context\.wait_for"):
            await asyncio.to_thread(asyncio.run, work)
    assert await database.run("SELECT 2 AS two") == [{"two": 2}]
    await database.close()
