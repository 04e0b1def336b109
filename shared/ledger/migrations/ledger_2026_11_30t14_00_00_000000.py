"""Adds the index by which the API counts how many tasks of an account wait."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import CreateIndex
from shared.sql_migration import in_steps

ID = "2026-11-30T14:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Index of what waits by account"

WAITING = "(owner) WHERE owner IS NOT NULL AND holder IS NULL AND completed_at IS NULL"


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, [CreateIndex(name="task_waiting", table="task", on=WAITING)])
