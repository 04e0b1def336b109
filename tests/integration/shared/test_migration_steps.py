"""Tests of the building blocks of migrations: they can be repeated, and do not block the
services.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import asyncpg
import pytest

from local.postgres import SUPERUSER
from shared.errors import MigrationError
from shared.ledger.database import Database
from shared.ledger.session import of_migrations
from shared.migration import session
from shared.migration.patience import Patience
from shared.migration.session import Session
from shared.migration.steps import AddColumn, AddConstraint, Brief, CreateIndex, DropColumn, Step
from shared.roles import OWNER
from tests.eventually import eventually
from tests.roles import as_role

STEPS: Sequence[Step] = [
    AddColumn(table="task", name="cost", definition="integer NOT NULL DEFAULT 0"),
    AddColumn(table="task", name="note", definition="text"),
    AddConstraint(table="task", name="task_cost_is_positive", definition="CHECK (cost >= 0)"),
    AddConstraint(table="task", name="task_has_a_note", definition="NOT NULL note"),
    CreateIndex(name="task_name", table="task", on="(name, id)"),
    CreateIndex(name="worker_hostname", table="worker", on="(hostname)"),
    DropColumn(table="task", name="note"),
]
IS_VALID = "SELECT bool_and(indisvalid) FROM pg_index WHERE indexrelid::regclass::text LIKE $1"
PARTS = "SELECT count(*) FROM pg_inherits WHERE inhparent = $1::text::regclass"
SMALL = Patience(lock_timeout_s=0.5, brief_s=5, limit_s=1, first_pause_s=0.1)


@asynccontextmanager
async def migrating(url: str, patience: Patience) -> AsyncIterator[Session]:
    database = Database(url, of_migrations())
    async with session.opened(database.engine, patience) as opened:
        yield opened


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A second session in the same database, as superuser, which may change the system catalog."""
    url = as_role(database_url, SUPERUSER)
    connection = await asyncpg.connect(url, server_settings={"application_name": "report"})
    yield connection
    await connection.close()


async def test_every_building_block_can_be_repeated(database_url: str, other: asyncpg.Connection) -> None:
    async with migrating(database_url, Patience()) as migration:
        for step in [*STEPS, *STEPS]:
            await step.run(migration)
    assert await other.fetchval(PARTS, "task_name") == await other.fetchval(PARTS, "task")
    assert await other.fetchval(IS_VALID, "%_name")
    assert await other.fetchval(IS_VALID, "worker_hostname")
    validated = "SELECT bool_and(convalidated) FROM pg_constraint WHERE conname = 'task_cost_is_positive'"
    assert await other.fetchval(validated)


async def test_an_index_that_an_interrupted_run_left_incomplete_is_built_again(
    database_url: str, other: asyncpg.Connection
) -> None:
    step = CreateIndex(name="task_name", table="task", on="(name, id)")
    async with migrating(database_url, Patience()) as migration:
        await step.run(migration)
        (row,) = await migration.fetch(
            "SELECT min(inhrelid::regclass::text) AS part FROM pg_inherits "
            "WHERE inhparent = 'task_name'::regclass"
        )
        # Restore the state of a process that was killed after it built the index of the second
        # partition, but before it attached the index.
        await other.execute("DROP INDEX task_name")
        await other.execute("CREATE INDEX task_name ON ONLY task (name, id)")
        table = row["part"].removesuffix("_name")
        await other.execute(f"CREATE INDEX {row['part']} ON {table} (name, id)")
        await other.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass", row["part"]
        )
        await step.run(migration)
    assert await other.fetchval(PARTS, "task_name") == await other.fetchval(PARTS, "task")
    assert await other.fetchval(IS_VALID, "%_name")


async def test_a_migration_names_the_session_that_locks_a_table_and_blocks_no_others(
    database_url: str, other: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    step = AddColumn(table="worker", name="cost", definition="integer NOT NULL DEFAULT 0")
    async with other.transaction(), migrating(database_url, SMALL) as migration:
        await other.execute("SELECT * FROM worker")
        with pytest.raises(MigrationError, match=r"session \d+ \(report, idle in transaction"):
            await step.run(migration)
    assert "other statements go first" in caplog.text


async def test_a_step_waits_until_the_lock_is_free(
    database_url: str, other: asyncpg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    step = AddColumn(table="worker", name="cost", definition="integer NOT NULL DEFAULT 0")
    patience = Patience(lock_timeout_s=0.5, limit_s=60, first_pause_s=0.1)
    async with migrating(database_url, patience) as migration:
        async with other.transaction():
            await other.execute("SELECT * FROM worker")
            running = asyncio.create_task(step.run(migration))
            await eventually(lambda: caplog.text.count("other statements go first") > 1)
        await running
    assert await other.fetchval("SELECT count(cost) FROM worker") == 0


async def test_a_step_that_rewrites_a_large_table_is_undone(
    database_url: str, other: asyncpg.Connection
) -> None:
    await other.execute("CREATE TABLE large AS SELECT n FROM generate_series(1, 300000) AS n")
    await other.execute(f"ALTER TABLE large OWNER TO {OWNER}")
    step = AddColumn(table="large", name="token", definition="uuid DEFAULT gen_random_uuid()")
    async with migrating(database_url, Patience(brief_s=0.05, first_pause_s=0.1)) as migration:
        with pytest.raises(MigrationError, match="rewrites the table"):
            await step.run(migration)
        await Brief(sql="ALTER TABLE large ADD COLUMN IF NOT EXISTS token uuid").run(migration)


def test_a_column_that_the_previous_release_could_not_fill_is_refused() -> None:
    with pytest.raises(ValueError, match=r"task\.cost is NOT NULL and has no DEFAULT"):
        AddColumn(table="task", name="cost", definition="integer NOT NULL")
