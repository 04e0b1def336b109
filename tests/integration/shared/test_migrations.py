"""Tests that migrations keep existing data."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from shared.applications import DEFAULT
from shared.ledger.time_limit import STATEMENT_TIMEOUT_S
from tests.conftest import ROOT
from tests.eventually import eventually
from tests.installed import HOTEL

FIRST = "2026-11-22T12:00:00:000000"
#: Id of the last migration before the one that adds confirmed addresses.
BEFORE_VERIFICATION = "2026-11-29T14:00:00:000000"
#: Id of the last migration before the one that adds the column `generation.system`.
BEFORE_SYSTEM = "2026-11-26T12:00:00:000000"
#: Value of OFTEN_APPLICATIONS: the default applications, and one whose migration changes the table
#: `task`.
GROWTH = f"{DEFAULT},tests.growth" if HOTEL else "tests.growth"
BUILDS = (
    "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() "
    "AND phase = 'waiting for old snapshots'"
)
RECORDED = "SELECT count(*) FROM migration WHERE app_name = 'growth'"


@dataclass(frozen=True, slots=True)
class Migration:
    """A running process of `python -m shared.migrate`."""

    process: subprocess.Popen[bytes]
    _log: Path

    def log(self) -> str:
        return self._log.read_text()

    async def ended(self) -> int:
        return await asyncio.to_thread(self.process.wait, 60)


@pytest.fixture
def migrations(tmp_path: Path) -> Iterator[Callable[..., Migration]]:
    """A function that starts migration processes.

    Those that still run after the test are killed.
    """
    started: list[Migration] = []
    numbers = count()

    def start(url: str, **environment: str) -> Migration:
        file = tmp_path / f"migrate-{next(numbers)}.log"
        known = {**os.environ, "DATABASE_URL": url, "OFTEN_LOG_FORMAT": "text", **environment}
        with file.open("wb") as log:
            command = [sys.executable, "-m", "shared.migrate"]
            process = subprocess.Popen(command, cwd=ROOT, env=known, stdout=log, stderr=subprocess.STDOUT)
        started.append(Migration(process, file))
        return started[-1]

    yield start
    for migration in started:
        migration.process.kill()
        migration.process.wait()


def _run(url: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", *arguments]
    known = {**os.environ, "DATABASE_URL": url, **environment}
    ended = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_administrators_and_sessions_survive_the_change_of_tables(empty_database: str) -> None:
    _run(empty_database, "piccolo.main", "migrations", "forwards", "identity", FIRST)
    database = await asyncpg.connect(empty_database)
    await database.execute(
        """
        INSERT INTO account (email, password_hash, is_admin) VALUES
            ('root@x', '', true), ('ann@x', '', false);
        INSERT INTO refresh_token ("user", token_hash, expires_at, revoked_at)
        SELECT id, convert_to(email || n, 'UTF8'), now() + interval '1 day', CASE n WHEN 1 THEN now() END
        FROM account, generate_series(1, 2) AS n
        """
    )
    _run(empty_database, "piccolo.main", "migrations", "forwards", "identity", "all")

    roles = await database.fetch("SELECT email, role FROM account ORDER BY id")
    assert [tuple(row) for row in roles] == [("root@x", "administrator"), ("ann@x", "user")]
    tokens = await database.fetch(
        """
        SELECT convert_from(t.token_hash, 'UTF8') AS token, a.email, t.spent_at IS NULL AS unspent,
               s.revoked_at IS NULL AS open
        FROM refresh_token t JOIN session s ON s.id = t.session JOIN account a ON a.id = s."user"
        ORDER BY t.id
        """
    )
    assert sorted(map(tuple, tokens)) == [
        ("ann@x1", "ann@x", False, False),
        ("ann@x2", "ann@x", True, True),
        ("root@x1", "root@x", False, False),
        ("root@x2", "root@x", True, True),
    ]
    assert await database.fetchval("SELECT count(*) FROM session") == 4
    await database.close()


async def test_accounts_older_than_verification_count_as_verified(
    empty_database: str,
) -> None:
    _run(empty_database, "piccolo.main", "migrations", "forwards", "identity", BEFORE_VERIFICATION)
    database = await asyncpg.connect(empty_database)
    insert = "INSERT INTO account (email, password_hash) VALUES ($1, '')"
    await database.execute(insert, "ann@x")
    _run(empty_database, "piccolo.main", "migrations", "forwards", "identity", "all")
    await database.execute(insert, "li@x")

    accounts = await database.fetch("SELECT email, verified_at IS NOT NULL FROM account ORDER BY id")
    assert [tuple(row) for row in accounts] == [("ann@x", True), ("li@x", False)]
    await database.close()


async def test_migrations_recorded_by_the_previous_release_do_not_run_again(
    empty_database: str,
) -> None:
    _run(empty_database, "shared.migrate")
    database = await asyncpg.connect(empty_database)
    recorded = "SELECT app_name, count(*) AS n FROM migration GROUP BY app_name"
    before = {row["app_name"]: row["n"] for row in await database.fetch(recorded)}
    # Make the database look like one of release 0.1, which had a single application for accounts
    # and hotels.
    moved = await database.fetch(
        "UPDATE migration SET app_name = 'domain'"
        " WHERE app_name IN ('identity', 'hotel') AND name < '2026-11-29' RETURNING name"
    )
    await database.execute("INSERT INTO account (email, password_hash) VALUES ('ann@x', '')")

    _run(empty_database, "shared.migrate")

    # The records of the old application's migrations are kept. After a rollback to release 0.1,
    # these migrations must not run again.
    after = {row["app_name"]: row["n"] for row in await database.fetch(recorded)}
    assert after == {**before, "domain": len(moved)}
    assert before.keys() == {"ledger", "identity"} | ({"hotel"} if HOTEL else set())
    assert await database.fetchval("SELECT count(*) FROM account") == 1
    await database.close()


async def test_the_platform_migrates_without_any_application(empty_database: str) -> None:
    _run(empty_database, "shared.migrate", OFTEN_APPLICATIONS="")
    database = await asyncpg.connect(empty_database)
    assert await database.fetchval("SELECT to_regclass('account')") is not None
    assert await database.fetchval("SELECT to_regclass('payment')") is None
    await database.close()


async def test_a_migration_waits_for_a_long_reader_without_blocking_the_services(
    empty_database: str, migrations: Callable[..., Migration]
) -> None:
    _run(empty_database, "piccolo.main", "migrations", "forwards", "ledger", BEFORE_SYSTEM)
    reader = await asyncpg.connect(empty_database, server_settings={"application_name": "report"})
    service = await asyncpg.connect(empty_database)
    async with reader.transaction():
        await reader.execute("SELECT * FROM generation")
        migration = migrations(empty_database)
        # By now the migration has waited for longer than a statement of a service may take.
        await eventually(lambda: migration.log().count("(report, idle in transaction") > 2)
        await service.execute("UPDATE generation SET checked_at = now()", timeout=STATEMENT_TIMEOUT_S)
    assert await migration.ended() == 0, migration.log()
    assert await service.fetchval("SELECT system FROM generation") is not None
    for connection in (reader, service):
        await connection.close()


async def test_a_migration_that_could_not_be_recorded_has_changed_nothing(
    empty_database: str, migrations: Callable[..., Migration]
) -> None:
    _run(empty_database, "piccolo.main", "migrations", "forwards", "ledger", BEFORE_SYSTEM)
    database = await asyncpg.connect(empty_database)
    await database.execute("ALTER TABLE migration ADD CONSTRAINT closed CHECK (name < '2026-11-29')")
    assert await migrations(empty_database).ended() == 1
    await database.execute("ALTER TABLE migration DROP CONSTRAINT closed")

    _run(empty_database, "shared.migrate")

    assert await database.fetchval("SELECT system FROM generation") is not None
    await database.close()


async def test_a_migration_that_was_killed_while_it_built_an_index_can_run_again(
    database_url: str, migrations: Callable[..., Migration]
) -> None:
    database, reader = [await asyncpg.connect(database_url) for _ in range(2)]
    async with reader.transaction(isolation="repeatable_read"):
        # The migration's CREATE INDEX CONCURRENTLY has to wait for the end of this transaction.
        await reader.execute("SELECT * FROM generation")
        killed = migrations(database_url, OFTEN_APPLICATIONS=GROWTH)
        await eventually(lambda: database.fetchval(BUILDS))
        killed.process.kill()
        # Wait until Postgres notices that the killed client is gone, which also releases the
        # migration's lock.
        await eventually(lambda: database.fetchval(f"SELECT NOT EXISTS ({BUILDS})"))
    assert await database.fetchval(
        "SELECT NOT indisvalid FROM pg_index WHERE indexrelid = 'task_name'::regclass"
    )

    _run(database_url, "shared.migrate", OFTEN_APPLICATIONS=GROWTH)

    assert await database.fetchval(
        "SELECT bool_and(indisvalid) FROM pg_index WHERE indrelid = 'task'::regclass"
    )
    assert await database.fetchval(RECORDED) == 1
    for connection in (database, reader):
        await connection.close()


async def test_two_migrations_at_once_run_each_step_once(
    database_url: str, migrations: Callable[..., Migration]
) -> None:
    database, reader = [await asyncpg.connect(database_url) for _ in range(2)]
    async with reader.transaction(isolation="repeatable_read"):
        await reader.execute("SELECT * FROM generation")
        first = migrations(database_url, OFTEN_APPLICATIONS=GROWTH)
        await eventually(lambda: database.fetchval(BUILDS))
        second = migrations(database_url, OFTEN_APPLICATIONS=GROWTH)
        await eventually(lambda: "another process migrates this database: session" in second.log())
    assert [await first.ended(), await second.ended()] == [0, 0], first.log() + second.log()
    assert await database.fetchval(RECORDED) == 1
    for connection in (database, reader):
        await connection.close()


def test_a_missing_address_and_a_server_that_is_away_take_one_line(tmp_path: Path) -> None:
    without = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    for environment, words in (
        (without, "DATABASE_URL is missing"),
        ({**without, "DATABASE_URL": "postgres://x:y@127.0.0.1:1/z"}, "Postgres does not answer"),
    ):
        command = [sys.executable, "-m", "shared.migrate"]
        ended = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode != 0
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr
