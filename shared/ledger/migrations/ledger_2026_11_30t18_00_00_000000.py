"""Adds a small table of failed tasks, and statistics of ended attempts per minute and hour.

Lists use the table to find failed tasks among many others.
"""

from dataclasses import dataclass

import asyncpg
from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.session import Session
from shared.migration.steps import PARTITIONS, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T18:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Failures by name, fingerprint and owner; statistics"

#: Reads the daily partitions of `task`, with the bounds of their ids.
_DAYS = """
    DO $do$
    DECLARE part record;
    BEGIN
        FOR part IN
            SELECT substr(c.relname, length('task') + 1) AS suffix,
                   pg_get_expr(c.relpartbound, c.oid) AS bounds
            FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
            WHERE i.inhparent = 'task'::regclass AND NOT i.inhdetachpending
        LOOP
            EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF task_failure %s',
                           'task_failure' || part.suffix, part.bounds);
        END LOOP;
    END
    $do$
"""


@dataclass(frozen=True, kw_only=True)
class AddDays:
    """Adds a partition for each day to the table of failed tasks, which no release uses yet."""

    async def run(self, session: Session) -> None:
        await session.long(_DAYS)


@dataclass(frozen=True, kw_only=True)
class NoteFailures:
    """Adds a row for each task that failed before this migration, one day after the other."""

    async def run(self, session: Session) -> None:
        for row in await session.fetch(PARTITIONS, "task"):
            await self._note(session, row["name"])

    async def _note(self, session: Session, day: str) -> None:
        try:
            await session.long(f"""
                INSERT INTO task_failure (task_id, name, queue, owner, fingerprint, failed_at)
                SELECT id, name, queue, owner, error_fingerprint, completed_at FROM {day}
                WHERE status = 'failure' ON CONFLICT DO NOTHING
            """)
        except asyncpg.UndefinedTableError:
            # The cleanup may have removed this day since the list of days was read.
            if day in {row["name"] for row in await session.fetch(PARTITIONS, "task")}:
                raise


def _statistics(table: str, span: str) -> Step:
    """Sets the fill factor of the table of minutes.

    The rows of the current minute are updated every few seconds, so pages keep free space for
    updates.
    """
    return Brief(
        sql=f"""
        CREATE TABLE IF NOT EXISTS {table} (
            {span} timestamptz NOT NULL,
            queue text NOT NULL,
            name text NOT NULL,
            outcome text NOT NULL CHECK (outcome IN ('success', 'failure', 'revoked', 'retry')),
            n bigint NOT NULL,
            wait_s double precision NOT NULL,
            run_s double precision NOT NULL,
            max_run_s double precision NOT NULL,
            wait_hist bigint[] NOT NULL,
            run_hist bigint[] NOT NULL,
            PRIMARY KEY ({span}, queue, name, outcome)
        ) WITH (fillfactor = 70)
        """
    )


STEPS: list[Step] = [
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS task_failure (
            task_id uuid PRIMARY KEY,
            name text NOT NULL,
            queue text NOT NULL,
            owner bigint,
            fingerprint text,
            failed_at timestamptz NOT NULL
        ) PARTITION BY RANGE (task_id)
        """
    ),
    Brief(sql="CREATE INDEX IF NOT EXISTS task_failure_name ON task_failure (name, task_id)"),
    Brief(sql="CREATE INDEX IF NOT EXISTS task_failure_fingerprint ON task_failure (fingerprint, task_id)"),
    Brief(sql="CREATE INDEX IF NOT EXISTS task_failure_owner ON task_failure (owner, task_id)"),
    AddDays(),
    NoteFailures(),
    _statistics("task_minute", "minute"),
    _statistics("task_hour", "hour"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
