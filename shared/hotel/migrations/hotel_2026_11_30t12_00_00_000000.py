"""Changes payments so that they are kept when the account that paid is erased."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Payments of erased accounts"

STEPS: list[Step] = [Brief(sql='ALTER TABLE payment ALTER COLUMN "user" DROP NOT NULL')]


async def forwards() -> MigrationManager:
    return in_steps(ID, "hotel", DESCRIPTION, STEPS)
