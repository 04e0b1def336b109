"""Tests of a task whose body finds no free connection to Postgres: it is given back and waits,
which does not count as an attempt.
"""

import contextlib
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from services.worker.running.lifecycle import NO_CONNECTION
from tests import own_postgres
from tests.eventually import eventually
from tests.hostile_tasks import ASK, ASK_ASYNC, Asks
from tests.own_postgres import migrated, serving
from tests.platform import Platform

MAX_CONNECTIONS = 25


@pytest.fixture
async def small(folder: Path, redis_url: str, tmp_path: Path) -> AsyncIterator[Platform]:
    """The platform on a Postgres server that allows few connections."""
    server = own_postgres.settle(folder / secrets.token_hex(4))
    async with (
        serving(server, max_connections=str(MAX_CONNECTIONS)),
        Platform(migrated(server, "small"), redis_url, tmp_path) as platform,
    ):
        yield platform


@asynccontextmanager
async def all_taken(url: str) -> AsyncIterator[None]:
    """Hold all free connections to Postgres inside this context."""
    async with contextlib.AsyncExitStack() as taken:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            for _ in range(MAX_CONNECTIONS + 1):
                taken.push_async_callback((await asyncpg.connect(url)).close)
        yield


async def test_bodies_without_a_connection_wait_and_succeed_without_a_counted_failure(
    small: Platform,
) -> None:
    await small.start_scheduler()
    await small.start_worker()
    async with all_taken(small.database_url):
        ids = await small.submit(ASK, Asks(way="plain"))
        for way in ("transaction", "connection", "wrapped"):
            ids += await small.submit(ASK_ASYNC, Asks(way=way))

        async def all_wait() -> bool:
            rows = await small.tasks(ids)
            return all(row["interruptions"] and row["wait_reason"] == NO_CONNECTION for row in rows)

        await eventually(all_wait)
        assert {row["status"] for row in await small.tasks(ids)} == {"pending"}
    rows = await small.all_final(ids)
    assert {(row["status"], row["failures"]) for row in rows} == {("success", 0)}
