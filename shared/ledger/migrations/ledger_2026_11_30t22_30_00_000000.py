"""Adds a column to workflows for the trace to which the tasks of the workflow belong."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T22:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Trace context of a workflow"

STEPS: list[Step] = [AddColumn(table="workflow", name="trace_context", definition="text")]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
