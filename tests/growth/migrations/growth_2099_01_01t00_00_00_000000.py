"""A test migration that adds a column, a constraint and an index to the table `task`."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, AddConstraint, CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2099-01-01T00:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Growth"

STEPS: list[Step] = [
    AddColumn(table="task", name="cost", definition="integer NOT NULL DEFAULT 0"),
    AddConstraint(table="task", name="task_cost_is_positive", definition="CHECK (cost >= 0)"),
    CreateIndex(name="task_name", table="task", on="(name, id)"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "growth", DESCRIPTION, STEPS)
