"""Adds the id of the last task to workflow steps, whose tasks are found between their first and their
last id. Drops the index of the tasks of workflows, which some databases between two releases have.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-12-01T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Members of groups have consecutive ids"

LAST_TASKS = "UPDATE workflow_step SET last_task = task WHERE task IS NOT NULL AND last_task IS NULL"

STEPS: list[Step] = [
    AddColumn(table="workflow_step", name="last_task", definition="uuid"),
    Brief(sql=LAST_TASKS),
    # DROP INDEX CONCURRENTLY does not work with an index of a partitioned table.
    Brief(sql="DROP INDEX IF EXISTS task_workflow"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
