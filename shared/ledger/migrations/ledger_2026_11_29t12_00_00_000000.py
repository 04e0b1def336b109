"""Gives the database an id, which is also stored in the Redis database that belongs to it.

Otherwise, two systems that share a Redis database by mistake would take each other's tasks.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-29T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "The id of the system"

STATEMENTS = ["ALTER TABLE generation ADD COLUMN system uuid NOT NULL DEFAULT gen_random_uuid()"]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
