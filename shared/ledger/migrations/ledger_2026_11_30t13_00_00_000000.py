"""Adds a table in which the cleanup task asks the leading scheduler to drop old days of tasks.

Only the scheduler has the right to change tables.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-30T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Requests to drop old days"

STATEMENTS = [
    """
    CREATE TABLE cleanup_request (
        task uuid PRIMARY KEY,
        cutoff timestamptz NOT NULL,
        requested_at timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz,
        cancelled boolean NOT NULL DEFAULT false,
        done integer NOT NULL DEFAULT 0,
        days integer NOT NULL DEFAULT 0,
        result jsonb
    )
    """
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
