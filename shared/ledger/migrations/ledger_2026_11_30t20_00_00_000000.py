"""Adds error groups, which count failed attempts with the same cause."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T20:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Errors grouped by fingerprint"

#: The row of a frequent error is updated every few seconds by each worker, so the pages of the
#: table keep free space for updates.
GROUP = """
    CREATE TABLE IF NOT EXISTS error_group (
        fingerprint text PRIMARY KEY,
        name text NOT NULL,
        kind text NOT NULL,
        type text,
        place text,
        message text,
        sample_task uuid NOT NULL,
        first_at timestamptz NOT NULL,
        last_at timestamptz NOT NULL,
        first_release text NOT NULL,
        last_release text NOT NULL,
        state text NOT NULL DEFAULT 'open'
            CHECK (state IN ('open', 'acknowledged', 'muted', 'resolved', 'regressed')),
        until timestamptz,
        note text,
        changed_at timestamptz,
        changed_by bigint,
        CHECK (until IS NULL OR state = 'muted')
    ) WITH (fillfactor = 70)
"""
HOUR = """
    CREATE TABLE IF NOT EXISTS error_hour (
        fingerprint text NOT NULL,
        hour timestamptz NOT NULL,
        attempts bigint NOT NULL,
        tasks bigint NOT NULL,
        PRIMARY KEY (fingerprint, hour)
    ) WITH (fillfactor = 70)
"""

STEPS: list[Step] = [
    Brief(sql=GROUP),
    Brief(sql="CREATE INDEX IF NOT EXISTS error_group_name ON error_group (name)"),
    Brief(sql="CREATE INDEX IF NOT EXISTS error_group_seen ON error_group (last_at, fingerprint)"),
    Brief(sql="CREATE INDEX IF NOT EXISTS error_group_sample ON error_group (sample_task)"),
    Brief(sql=HOUR),
    Brief(sql="CREATE INDEX IF NOT EXISTS error_hour_hour ON error_hour (hour)"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
