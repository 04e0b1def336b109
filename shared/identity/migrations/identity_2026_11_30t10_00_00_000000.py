"""Adds the audit log. It refers to accounts without foreign keys, so that it keeps the rows of a
deleted account.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-30T10:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Audit log"

STATEMENTS = [
    """
    CREATE TABLE audit (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        at timestamptz NOT NULL GENERATED ALWAYS AS (uuid_extract_timestamp(id)) STORED,
        actor bigint,
        credential text,
        credential_id uuid,
        network text,
        action text NOT NULL,
        target_kind text,
        target text,
        before jsonb,
        after jsonb,
        reason text,
        request_id text
    )
    """,
    "CREATE INDEX audit_actor ON audit (actor, id)",
    "CREATE INDEX audit_target ON audit (target_kind, target, id)",
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "identity", DESCRIPTION, STATEMENTS)
