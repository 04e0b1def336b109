"""Adds to each account the id of the task that erases it."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Erasure of accounts"

STEPS: list[Step] = [AddColumn(table="account", name="erasure_task", definition="uuid")]


async def forwards() -> MigrationManager:
    return in_steps(ID, "identity", DESCRIPTION, STEPS)
