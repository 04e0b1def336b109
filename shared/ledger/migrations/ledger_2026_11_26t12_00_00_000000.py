"""Stores the task ids of a large batch without compression.

The ids are random, and trying to compress them takes 30 ms.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-26T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Ids of a submission are not compressed"

STATEMENTS = ["ALTER TABLE submission_key ALTER COLUMN task_ids SET STORAGE EXTERNAL"]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
