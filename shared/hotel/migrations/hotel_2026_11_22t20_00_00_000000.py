"""Adds the table of mail preferences."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T20:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Mail preferences"

STATEMENTS = [
    """
    CREATE TABLE mail_preference (
        "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
        kind text NOT NULL,
        token uuid NOT NULL UNIQUE DEFAULT gen_random_uuid(),
        opted_out_at timestamptz,
        PRIMARY KEY ("user", kind)
    )
    """,
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "hotel", DESCRIPTION, STATEMENTS)
