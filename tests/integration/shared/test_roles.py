"""Tests that each service's role has the declared rights in Postgres, and no others."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from local.postgres import Postgres
from shared import applications
from shared.errors import MigrationError
from shared.ledger import partitions
from shared.ledger.grants import GRANTS
from shared.migration import grants
from shared.roles import API, OWNER, SCHEDULER, SERVICES, WORKER
from tests.api_process import Api
from tests.eventually import eventually
from tests.installed import INSTALLED
from tests.migrated import migrate
from tests.platform import Platform
from tests.roles import as_role, make_roles
from tests.sample_tasks import INSTANT, Nothing

DECLARED = [GRANTS, *applications.grants(INSTALLED)]
#: Reads a role's rights to whole tables from Postgres. $1: the role.
TABLE_RIGHTS = """
    SELECT relname AS name, privilege FROM pg_class, unnest(
        ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS privilege
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND has_table_privilege($1, pg_class.oid, privilege)
"""
SESSIONS = """
    SELECT DISTINCT application_name AS name, usename AS role, usesuper AS super
    FROM pg_stat_activity JOIN pg_user USING (usename) WHERE datname = current_database()
"""


@asynccontextmanager
async def connected(url: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(as_role(url, role))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("role", SERVICES)
async def test_a_role_has_the_declared_rights_to_whole_tables_and_no_others(
    migrated_url: str, role: str
) -> None:
    async with connected(migrated_url, OWNER) as connection:
        found = {(row["name"], row["privilege"]) for row in await connection.fetch(TABLE_RIGHTS, role)}
    wanted = [right for right in grants.rights(DECLARED) if right.role == role and not right.column]
    assert found == {(right.name, right.privilege) for right in wanted}


@pytest.mark.parametrize(
    ("role", "attack"),
    [
        (WORKER, "SELECT password_hash FROM account"),
        (WORKER, "SELECT secret_hash FROM api_key"),
        (WORKER, 'INSERT INTO session ("user") VALUES (1)'),
        (WORKER, "SELECT token_hash FROM refresh_token"),
        (WORKER, "UPDATE account SET role = 'administrator'"),
        (WORKER, "SELECT action FROM audit"),
        (WORKER, "UPDATE audit SET actor = 1"),
        (WORKER, "DELETE FROM task"),
        (WORKER, "DROP TABLE task_log"),
        (WORKER, "ALTER TABLE task DISABLE TRIGGER ALL"),
        (WORKER, "SET ROLE often_migrate"),
        (WORKER, "CREATE TABLE mine (id integer)"),
        (WORKER, "COPY task TO PROGRAM 'cat'"),
        (API, "DROP TABLE task"),
        (API, "UPDATE task SET name = 'email.send_welcome'"),
        (API, "UPDATE task SET owner = 1"),
        (API, "DELETE FROM task"),
        (API, "DELETE FROM audit"),
        (API, "SET ROLE often_migrate"),
        (SCHEDULER, "SELECT * FROM session"),
        (SCHEDULER, "SELECT email FROM account"),
        (SCHEDULER, "SELECT secret_hash FROM api_key"),
        (SCHEDULER, "DELETE FROM task"),
        (OWNER, "SELECT rolpassword FROM pg_authid"),
        (OWNER, "CREATE ROLE another"),
        (OWNER, "SET ROLE postgres"),
    ],
)
async def test_an_attack_is_refused(migrated_url: str, role: str, attack: str) -> None:
    async with connected(migrated_url, role) as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(attack)


async def test_no_process_of_a_running_system_is_a_superuser(platform: Platform) -> None:
    await platform.start_scheduler()
    await platform.start_worker()
    await Api(platform).start()
    found = await platform.rows(SESSIONS)
    assert {(row["name"].split("-")[1], row["role"]) for row in found} == {
        ("api", API),
        ("worker", WORKER),
        ("scheduler", SCHEDULER),
        ("test", OWNER),
    }
    assert [row for row in found if row["super"]] == []


async def test_a_migration_restores_the_declared_rights(database_url: str) -> None:
    async with connected(database_url, OWNER) as connection:
        await connection.execute(
            "REVOKE INSERT ON task FROM often_api; GRANT SELECT ON account TO often_worker"
        )
        await connection.execute("GRANT SELECT (secret_hash) ON api_key TO often_scheduler")
    migrate(database_url)
    async with connected(database_url, OWNER) as connection:
        assert await connection.fetchval("SELECT has_table_privilege('often_api', 'task', 'INSERT')")
        assert not await connection.fetchval(
            "SELECT has_table_privilege('often_worker', 'account', 'SELECT')"
        )
        readable = "SELECT has_column_privilege('often_scheduler', 'api_key', 'secret_hash', 'SELECT')"
        assert not await connection.fetchval(readable)


async def test_a_database_of_a_superuser_gets_its_owner_and_keeps_its_rows(
    postgres_server: Postgres, redis_url: str, tmp_path: Path
) -> None:
    """In databases that earlier releases created, all tables belong to the superuser.

    Afterwards they must belong to the owner's role.
    """
    postgres_server.create_database(name := f"test_{secrets.token_hex(8)}")
    former = postgres_server.url(name)
    migrate(former)
    try:
        async with Platform(former, redis_url, tmp_path) as platform:
            (task,) = await platform.submit(INSTANT, Nothing())
            make_roles(postgres_server, name)
            make_roles(postgres_server, name)  # called a second time to check that it can be repeated
            migrate(as_role(former, OWNER))
            owners = await platform.rows("""
                SELECT DISTINCT pg_get_userbyid(relowner) AS owner FROM pg_class
                WHERE relnamespace = 'public'::regnamespace
            """)
            assert owners == [{"owner": OWNER}]
            last = max(row["name"] for row in await platform.rows(partitions.EXISTING))
            await platform.rows(partitions.drop([last]))
            await platform.start_scheduler()
            await platform.start_worker()
            await platform.until(task, "success")

            async def made_again() -> bool:
                return last in {row["name"] for row in await platform.rows(partitions.EXISTING)}

            await eventually(made_again)
    finally:
        postgres_server.drop_database(name)


async def test_a_former_owner_keeps_its_rights_until_they_are_revoked(
    postgres_server: Postgres, empty_database: str
) -> None:
    name, former = empty_database.rpartition("/")[2], f"former_{secrets.token_hex(4)}"
    administrator = await asyncpg.connect(postgres_server.url(name))
    try:
        await administrator.execute(f"CREATE ROLE {former}; CREATE TABLE old (id integer)")
        await administrator.execute(f"ALTER TABLE old OWNER TO {former}")
        make_roles(postgres_server, name)
        await administrator.execute(f"SET ROLE {former}; SELECT * FROM old; ALTER TABLE old ADD note text")
        await administrator.execute(f"RESET ROLE; REVOKE often_migrate FROM {former}; SET ROLE {former}")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await administrator.execute("SELECT * FROM old")
    finally:
        await administrator.close()


async def test_a_right_to_a_table_that_no_migration_creates_stops_the_migration(database_url: str) -> None:
    async with connected(database_url, OWNER) as connection:
        with pytest.raises(MigrationError, match="no migration creates parcel; correct GRANTS"):
            await grants.apply(connection, [*DECLARED, {API: {"parcel": ("SELECT",)}}])


async def test_a_database_with_only_one_role_is_migrated_and_the_log_says_how_to_get_more(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(grants, "SERVICES", ("often_nobody",))
    async with connected(database_url, OWNER) as connection:
        with caplog.at_level("INFO"):
            await grants.apply(connection, [])
    assert "the roles often_nobody do not exist" in caplog.text
    assert "shared/postgres_roles.sql" in caplog.text
