"""Adds bulk operations, which are actions on many tasks or workflows, and their progress."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T21:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Bulk acts"

STEPS: list[Step] = [
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS bulk_act (
            id uuid PRIMARY KEY,
            task uuid NOT NULL,
            kind text NOT NULL CHECK (kind IN ('task', 'workflow')),
            action text NOT NULL,
            filter jsonb NOT NULL,
            given jsonb NOT NULL,
            changes jsonb,
            actor bigint NOT NULL,
            credential text,
            credential_id uuid,
            network text,
            request_id text,
            reason text,
            rate integer CHECK (rate > 0),
            expected integer NOT NULL,
            exact boolean NOT NULL,
            until uuid NOT NULL,
            cursor uuid NOT NULL,
            done bigint NOT NULL DEFAULT 0,
            skipped bigint NOT NULL DEFAULT 0,
            refused bigint NOT NULL DEFAULT 0,
            refusals jsonb NOT NULL DEFAULT '{}',
            not_before timestamptz NOT NULL DEFAULT now(),
            created_at timestamptz NOT NULL DEFAULT now(),
            stopped_at timestamptz,
            ended_at timestamptz,
            outcome text CHECK (outcome IN ('completed', 'stopped', 'forbidden'))
        )
        """
    ),
    Brief(sql="CREATE INDEX IF NOT EXISTS bulk_act_actor ON bulk_act (actor, id)"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
