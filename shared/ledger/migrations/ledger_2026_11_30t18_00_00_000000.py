"""Failures in a narrow table of their own, by which lists find them, and statistics by minute and hour."""

from dataclasses import dataclass

import asyncpg
from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.session import Session
from shared.migration.steps import PARTITIONS, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T18:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Failures by name, fingerprint and owner; statistics"

#: The days of `task`, with the same bounds.
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
    """Gives the new table a partition for each day; nothing uses it yet."""

    async def run(self, session: Session) -> None:
        await session.long(_DAYS)


@dataclass(frozen=True, kw_only=True)
class NoteFailures:
    """Notes the tasks that have failed before, one day after the other."""

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
            # The clean-up may have removed the day meanwhile.
            if day in {row["name"] for row in await session.fetch(PARTITIONS, "task")}:
                raise


def _statistics(table: str, span: str) -> Step:
    """Rows are updated every few seconds while their minute lasts, so pages keep room for that."""
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
