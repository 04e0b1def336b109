"""Adds the columns for workflows that a task or a schedule has started."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, AddConstraint, Brief, CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T17:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Workflows begun by tasks and schedules"

STEPS: list[Step] = [
    AddColumn(table="workflow", name="parent", definition="uuid"),
    AddColumn(table="workflow", name="schedule", definition="text"),
    AddColumn(table="workflow", name="fire_time", definition="timestamptz"),
    # Index of the schedules that have an unfinished workflow.
    CreateIndex(
        name="workflow_schedule",
        table="workflow",
        on="(schedule) WHERE schedule IS NOT NULL AND completed_at IS NULL",
    ),
    AddColumn(table="schedule", name="workflow", definition="text"),
    Brief(sql="ALTER TABLE schedule ALTER COLUMN task_name DROP NOT NULL"),
    AddConstraint(
        table="schedule",
        name="schedule_fires_one_thing",
        definition="CHECK (num_nonnulls(task_name, workflow) = 1)",
    ),
    AddColumn(table="schedule_firing", name="workflow_id", definition="uuid"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
