"""Tests that the previous release works on the current schema.

So a migration may only add; what it replaces is removed a release later.
"""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.release_before.schema import STATEMENTS, Schema, broken_by

#: New rules of the schema that the previous release always satisfies, by name, each with the
#: reason.
KEPT_ANYWAY: dict[str, str] = {
    "worker.worker_state_check": "it allows one more state",
    "worker.worker_asked_check": "the release before leaves the column null",
    "payment.payment_has_status": "allows one status more",
    "schedule.schedule_fires_one_thing": "its schedules always have a task_name",
    "task_attempt.task_attempt_outcome": "allows one outcome more",
}


@pytest.fixture
async def migrated(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def _changes(found: list[str]) -> list[str]:
    return [change for change in found if change.split()[0] not in KEPT_ANYWAY]


@pytest.mark.hotel
async def test_the_previous_release_can_read_and_write_everything_that_it_uses(
    migrated: asyncpg.Connection,
) -> None:
    found = _changes(broken_by(Schema.recorded(), await Schema.of(migrated)))
    assert not found, "\n".join(found)


@pytest.mark.hotel
async def test_each_statement_of_the_previous_release_fits_the_current_schema(
    migrated: asyncpg.Connection,
) -> None:
    statements = STATEMENTS.read_text().splitlines()
    assert len(statements) > 60
    for statement in statements:
        await migrated.prepare(statement)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("ALTER TABLE account DROP COLUMN full_name", "account.full_name is missing"),
        ("ALTER TABLE worker RENAME COLUMN pid TO process", "worker.pid is missing"),
        (
            "ALTER TABLE schedule ALTER COLUMN revision TYPE bigint",
            "schedule.revision is missing or has another",
        ),
        ("ALTER TABLE task ADD COLUMN cost integer NOT NULL", "task.cost is new and must be given a value"),
        ("ALTER TABLE task ALTER COLUMN owner SET NOT NULL", "task.owner must not be null any more"),
        ("ALTER TABLE task ADD CONSTRAINT low CHECK (priority < 5)", "task.low may refuse a row"),
        ("CREATE UNIQUE INDEX once ON worker (hostname)", "worker.once may refuse a row"),
        ("DROP TABLE generation", "generation.number is missing"),
    ],
)
async def test_a_change_that_breaks_the_previous_release_is_found(
    migrated: asyncpg.Connection, change: str, finding: str
) -> None:
    before = await Schema.of(migrated)
    await migrated.execute(change)
    assert any(found.startswith(finding) for found in broken_by(before, await Schema.of(migrated)))


async def test_changes_that_expand_are_allowed(migrated: asyncpg.Connection) -> None:
    before = await Schema.of(migrated)
    await migrated.execute(
        """
        CREATE TABLE report (id integer PRIMARY KEY);
        ALTER TABLE task ADD COLUMN cost integer NOT NULL DEFAULT 0, ADD COLUMN note text;
        ALTER TABLE task ALTER COLUMN queue DROP NOT NULL;
        CREATE INDEX task_name ON task (name)
        """
    )
    assert broken_by(before, await Schema.of(migrated)) == []
