"""Adds an index of the times at which waiting tasks expire.

It also changes a constraint, so that a final attempt can be stored in `task_attempt` when an
operator retries its task.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T20:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Expiry and retries by hand"

STATEMENTS = [
    """
    CREATE INDEX task_expires_at ON task (expires_at)
    WHERE expires_at IS NOT NULL AND num_nonnulls(send_at, sent_at) > 0
    """,
    """
    ALTER TABLE task_attempt
        DROP CONSTRAINT task_attempt_outcome_check,
        ADD CONSTRAINT task_attempt_outcome_check
            CHECK (outcome IN ('retry', 'interrupted', 'crashed', 'failure', 'revoked'))
    """,
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
