"""Lets an idempotency key refer to several tasks, because a batch is submitted under one key."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T19:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Submission keys of batches; indexes of the lists"

STATEMENTS = [
    "ALTER TABLE submission_key ADD COLUMN task_ids uuid[]",
    "UPDATE submission_key SET task_ids = ARRAY[task_id]",
    "ALTER TABLE submission_key ALTER COLUMN task_ids SET NOT NULL, DROP COLUMN task_id",
    "CREATE INDEX submission_key_created_at ON submission_key (created_at)",
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
