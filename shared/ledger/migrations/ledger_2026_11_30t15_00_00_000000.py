"""Adds workflows: their steps, events and unique keys.

It also adds the columns of tasks and workers that workflows need.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Brief, CreateIndex, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T15:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Workflows"

STEPS: list[Step] = [
    AddColumn(table="workflow", name="on_failure", definition="text NOT NULL DEFAULT 'go_on'"),
    AddColumn(table="workflow", name="unique_key", definition="text"),
    AddColumn(table="workflow", name="deadline_s", definition="double precision"),
    AddColumn(table="workflow", name="deadline_at", definition="timestamptz"),
    AddColumn(table="workflow", name="open_steps", definition="integer NOT NULL DEFAULT 0"),
    AddColumn(table="workflow", name="losses", definition="integer NOT NULL DEFAULT 0"),
    AddColumn(table="workflow", name="cancels", definition="integer NOT NULL DEFAULT 0"),
    AddColumn(table="workflow", name="late", definition="boolean NOT NULL DEFAULT false"),
    AddColumn(table="workflow", name="stopped", definition="boolean NOT NULL DEFAULT false"),
    AddColumn(table="workflow", name="cancel_requested_at", definition="timestamptz"),
    AddColumn(table="workflow", name="moved_at", definition="timestamptz NOT NULL DEFAULT now()"),
    AddColumn(table="workflow", name="revision", definition="integer NOT NULL DEFAULT 0"),
    CreateIndex(name="workflow_open", table="workflow", on="(id) WHERE completed_at IS NULL"),
    CreateIndex(name="workflow_deadline", table="workflow", on="(deadline_at) WHERE completed_at IS NULL"),
    CreateIndex(
        name="workflow_completed", table="workflow", on="(completed_at) WHERE completed_at IS NOT NULL"
    ),
    CreateIndex(name="workflow_owner", table="workflow", on="(owner, id)"),
    # The table is not partitioned by time. Otherwise, each advance of a workflow would open every
    # partition. The table remains small, because a group is one row however many tasks it has.
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS workflow_step (
            workflow uuid NOT NULL REFERENCES workflow (id) ON DELETE CASCADE,
            name text NOT NULL,
            position integer NOT NULL,
            needs text[] NOT NULL,
            next text[] NOT NULL,
            rule text NOT NULL CHECK (rule IN ('all', 'at_least', 'always', 'failed')),
            k integer NOT NULL,
            size integer NOT NULL,
            enough integer NOT NULL CHECK (enough BETWEEN 0 AND size),
            first boolean NOT NULL,
            handler boolean NOT NULL,
            sink boolean NOT NULL,
            grouped boolean NOT NULL,
            contract text NOT NULL,
            version smallint NOT NULL,
            queue text NOT NULL,
            priority smallint NOT NULL,
            max_attempts smallint NOT NULL,
            delay_s double precision NOT NULL,
            max_wait_s double precision,
            state text NOT NULL DEFAULT 'waiting'
                CHECK (state IN ('waiting', 'running', 'success', 'failure', 'revoked', 'skipped')),
            succeeded integer NOT NULL DEFAULT 0,
            failed integer NOT NULL DEFAULT 0,
            revoked integer NOT NULL DEFAULT 0,
            params jsonb,
            inputs jsonb,
            key_id text,
            task uuid,
            started_at timestamptz,
            completed_at timestamptz,
            PRIMARY KEY (workflow, name),
            CONSTRAINT workflow_step_counts_its_members CHECK (
                least(succeeded, failed, revoked) >= 0 AND succeeded + failed + revoked <= size
            )
        )
        """
    ),
    # The workflow's id has no foreign key. Otherwise, a statement that ends a task would have to
    # wait for a lock on the row of the workflow.
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS workflow_event (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            workflow uuid NOT NULL,
            step text,
            kind text NOT NULL CHECK (kind IN ('ended', 'reopened', 'cancel', 'deadline', 'cancel_rest')),
            succeeded integer NOT NULL DEFAULT 0,
            failed integer NOT NULL DEFAULT 0,
            revoked integer NOT NULL DEFAULT 0,
            created_at timestamptz NOT NULL DEFAULT now()
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000)
        """
    ),
    CreateIndex(name="workflow_event_workflow", table="workflow_event", on="(workflow)"),
    Brief(
        sql="""
        CREATE TABLE IF NOT EXISTS workflow_key (
            name text NOT NULL,
            key text NOT NULL,
            workflow uuid NOT NULL,
            PRIMARY KEY (name, key)
        )
        """
    ),
    AddColumn(table="task", name="member", definition="integer"),
    AddColumn(table="task", name="inputs", definition="jsonb"),
    AddColumn(table="worker", name="protocol", definition="smallint NOT NULL DEFAULT 0"),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
