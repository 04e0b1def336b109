"""Adds retries of workflows.

It adds the number of a workflow's run and the events that make steps run again, and allows stored
attempts that had succeeded.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, AddConstraint, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T16:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Retries of workflows"

KINDS = "'ended', 'reopened', 'cancel', 'deadline', 'cancel_rest', 'repeat', 'mend'"
OUTCOMES = "'retry', 'interrupted', 'crashed', 'failure', 'revoked', 'success'"

STEPS: list[Step] = [
    AddColumn(table="workflow", name="run", definition="integer NOT NULL DEFAULT 1"),
    # The new constraint is added before the old one is dropped, so that one of them is always in
    # force.
    AddConstraint(
        table="workflow_event",
        name="workflow_event_kind",
        definition=f"CHECK (kind IN ({KINDS}))",
    ),
    Brief(sql="ALTER TABLE workflow_event DROP CONSTRAINT IF EXISTS workflow_event_kind_check"),
    AddConstraint(
        table="task_attempt",
        name="task_attempt_outcome",
        definition=f"CHECK (outcome IN ({OUTCOMES}))",
    ),
    Brief(sql="ALTER TABLE task_attempt DROP CONSTRAINT IF EXISTS task_attempt_outcome_check"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
