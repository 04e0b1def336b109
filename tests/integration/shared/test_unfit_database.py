"""Tests of services on a database that this release cannot use.

Each names the remedy, waits, and works once the remedy is applied.
"""

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from local.ports import pick
from shared.errors import UnfitDatabase
from shared.ledger import schema_check
from shared.ledger.database import Database
from shared.ledger.schema_check import SchemaCheck
from tests.conftest import ROOT
from tests.eventually import eventually
from tests.platform import Platform

ADVICE = "run `make migrate`"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database.for_service(database_url, "test")
    await database.open(size=2)
    yield database
    await database.close()


class Services:
    """One running process of each service, with methods that read their readiness checks."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self.ports = pick("api", "worker", "scheduler")
        self.processes = [
            platform.start(
                f"services.{name}",
                # The API answers health checks on its own port. The other services answer them on
                # the port for metrics.
                **{"OFTEN_API_PORT" if name == "api" else "OFTEN_METRICS_PORT": str(port)},
                SECRET_KEY=secrets.token_hex(32),
            )
            for name, port in self.ports.items()
        ]

    def all_answer(self, status: int, words: str) -> bool:
        answers = [_ask("GET", port, "/health/ready") for port in self.ports.values()]
        return all(answer.status_code == status and words in answer.text for answer in answers)

    def logs(self) -> list[str]:
        return [self._platform.log_of(process) for process in self.processes]

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(30)


def _ask(method: str, port: int, path: str) -> httpx.Response:
    try:
        return httpx.request(method, f"http://127.0.0.1:{port}{path}", trust_env=False)
    except httpx.TransportError:
        return httpx.Response(0)


def _migrate(url: str) -> None:
    environment = {**os.environ, "DATABASE_URL": url}
    command = [sys.executable, "-m", "shared.migrate"]
    subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)


async def test_services_on_a_database_that_was_not_migrated_wait_for_the_migration(
    empty_database: str, redis_url: str, tmp_path: Path
) -> None:
    platform = Platform(empty_database, redis_url, tmp_path)
    services = Services(platform)
    try:
        await eventually(lambda: services.all_answer(503, ADVICE), 60)
        refused = _ask("GET", services.ports["api"], "/api/v1/tasks")
        assert refused.status_code == 503
        assert ADVICE in refused.json()["detail"]

        await asyncio.to_thread(_migrate, empty_database)

        await eventually(lambda: services.all_answer(200, ""), 60)
        for log in services.logs():
            assert ADVICE in log
            assert "Traceback" not in log
    finally:
        await asyncio.to_thread(services.stop)


async def test_a_schema_that_is_newer_than_the_release_is_accepted(database: Database) -> None:
    await database.run("INSERT INTO migration (name, app_name) VALUES ('2099-01-01T00:00:00', 'ledger')")
    check = SchemaCheck(database, {"ledger": ["2026-11-22T12:00:00:000000"]})
    await check.require()
    assert check.problem is None


async def test_an_older_schema_is_named_until_it_is_migrated(database: Database) -> None:
    check = SchemaCheck(database, {"ledger": ["2026-11-22T12:00:00:000000", "2099-01-01T00:00:00"]})
    with pytest.raises(
        UnfitDatabase, match="it is older than this release: migration ledger 2099-01-01T00:00:00 did"
    ):
        await check.require()
    assert check.problem is not None
    await database.run("INSERT INTO migration (name, app_name) VALUES ('2099-01-01T00:00:00', 'ledger')")
    await check.require()
    assert check.problem is None


async def test_an_older_server_is_named(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema_check, "MIN_VERSION", 99)
    with pytest.raises(UnfitDatabase, match="it is PostgreSQL 18; use PostgreSQL 99 or newer"):
        await schema_check.check_server(database.engine)


class _SharingPool:
    """Behaves like PgBouncer in transaction mode: all connections of this pool share one session in
    Postgres.
    """

    def __init__(self, session: asyncpg.Connection) -> None:
        self._session = session

    async def get_new_connection(self) -> "_SharingPool":
        return self

    async def execute(self, sql: str) -> Any:
        return await self._session.execute(sql)

    async def fetchval(self, sql: str) -> Any:
        return await self._session.fetchval(sql)

    async def close(self) -> None:
        """Do nothing: the session belongs to the pool, so it stays open."""


async def test_a_pool_that_shares_sessions_is_named(database: Database) -> None:
    connection = await database.connect()
    pool: Any = _SharingPool(connection)
    with pytest.raises(UnfitDatabase, match="pool_mode = session"):
        await schema_check.check_server(pool)
    await connection.close()
