"""Adds the indexes by which the last success of each schedule is found."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T21:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of successful firings"

#: The index does not contain the status. The status also changes while a task waits or runs, and an
#: update of an indexed column writes to all indexes of the row. A task that has ended without an
#: error was successful or canceled.
TASKS = (
    "(schedule, fire_time) WHERE fire_time IS NOT NULL AND completed_at IS NOT NULL AND error_kind IS NULL"
)
WORKFLOWS = "(schedule, fire_time) WHERE fire_time IS NOT NULL AND status = 'success'"

STEPS: list[Step] = [
    CreateIndex(name="task_succeeded", table="task", on=TASKS),
    CreateIndex(name="workflow_succeeded", table="workflow", on=WORKFLOWS),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
