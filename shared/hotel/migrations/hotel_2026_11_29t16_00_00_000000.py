"""Adds the table of customers of the payment service, each with the account it belongs to.

It also adds the index by which old entries of the message log are found for deletion.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import Brief, CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2026-11-29T16:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Customers of accounts, pruning of the notification log"

STEPS: list[Step] = [
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS payment_customer (
            customer text PRIMARY KEY,
            "user" bigint NOT NULL REFERENCES account (id) ON DELETE CASCADE,
            created_at timestamptz NOT NULL DEFAULT now()
        )
        """
    ),
    CreateIndex(name="payment_customer_user", table="payment_customer", on='("user")'),
    CreateIndex(name="notification_log_created_at", table="notification_log", on="(created_at)"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "hotel", DESCRIPTION, STEPS)
