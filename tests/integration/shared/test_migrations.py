"""Migrations keep what was there."""

import os
import subprocess
import sys

import asyncpg

from tests.conftest import ROOT
from tests.installed import HOTEL

FIRST = "2026-11-22T12:00:00:000000"


def _run(url: str, *arguments: str, **environment: str) -> None:
    command = [sys.executable, "-m", *arguments]
    known = {**os.environ, "DATABASE_URL": url, **environment}
    ended = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


async def test_administrators_and_sessions_outlive_the_change_of_tables(empty_database: str) -> None:
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


async def test_what_the_release_before_recorded_as_its_application_does_not_run_again(
    empty_database: str,
) -> None:
    _run(empty_database, "shared.migrate")
    database = await asyncpg.connect(empty_database)
    recorded = "SELECT app_name, count(*) FROM migration GROUP BY app_name ORDER BY app_name"
    before = await database.fetch(recorded)
    # Release 0.1 had one application for accounts and hotels, and none of the later migrations.
    await database.execute(
        "UPDATE migration SET app_name = 'domain'"
        " WHERE app_name IN ('identity', 'hotel') AND name < '2026-11-29'"
    )
    await database.execute("INSERT INTO account (email, password_hash) VALUES ('ann@x', '')")

    _run(empty_database, "shared.migrate")

    assert await database.fetch(recorded) == before
    assert {row["app_name"] for row in before} == {"ledger", "identity"} | ({"hotel"} if HOTEL else set())
    assert await database.fetchval("SELECT count(*) FROM account") == 1
    await database.close()


async def test_the_platform_migrates_without_any_application(empty_database: str) -> None:
    _run(empty_database, "shared.migrate", OFTEN_APPLICATIONS="")
    database = await asyncpg.connect(empty_database)
    assert await database.fetchval("SELECT to_regclass('account')") is not None
    assert await database.fetchval("SELECT to_regclass('payment')") is None
    await database.close()
