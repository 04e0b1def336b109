"""Adds columns for refunds to the table of payments."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, AddConstraint, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T17:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Refunds"

STATUSES = (
    "'created', 'unknown', 'processing', 'requires_action', 'succeeded', 'declined', 'failed', 'refunded'"
)

STEPS: list[Step] = [
    AddColumn(table="payment", name="refund", definition="text"),
    AddColumn(table="payment", name="refunded_at", definition="timestamptz"),
    AddConstraint(table="payment", name="payment_has_status", definition=f"CHECK (status IN ({STATUSES}))"),
    Brief(sql="ALTER TABLE payment DROP CONSTRAINT IF EXISTS payment_status_check"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "hotel", DESCRIPTION, STEPS)
