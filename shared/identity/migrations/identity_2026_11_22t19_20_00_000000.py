"""Replaces the flag that marks administrators by a role for each account."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T19:20:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Roles"

STATEMENTS = [
    """
    ALTER TABLE account ADD COLUMN role text NOT NULL DEFAULT 'user'
        CHECK (role IN ('user', 'viewer', 'operator', 'administrator'))
    """,
    "UPDATE account SET role = 'administrator' WHERE is_admin",
    "ALTER TABLE account DROP COLUMN is_admin",
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "identity", DESCRIPTION, STATEMENTS)
