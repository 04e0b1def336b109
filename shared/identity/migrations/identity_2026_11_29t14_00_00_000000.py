"""Adds to each session the network from which it was last signed in or renewed.

It is null for sessions that the previous release created.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-29T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Networks of sessions"

STATEMENTS = ["ALTER TABLE session ADD COLUMN network text"]


async def forwards() -> MigrationManager:
    return in_sql(ID, "identity", DESCRIPTION, STATEMENTS)
