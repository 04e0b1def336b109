"""Adds schedules: what they submit, what happens to missed times, and the outcome of each time."""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.sql_migration import in_sql

ID = "2026-11-22T19:45:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Schedules"

STATEMENTS = [
    """
    ALTER TABLE schedule
        ADD COLUMN source text NOT NULL DEFAULT 'api' CHECK (source IN ('contract', 'api')),
        ADD COLUMN jitter_s double precision NOT NULL DEFAULT 0 CHECK (jitter_s >= 0),
        ADD COLUMN misfire text NOT NULL DEFAULT 'once' CHECK (misfire IN ('skip', 'once', 'all')),
        ADD COLUMN misfire_grace_s double precision NOT NULL DEFAULT 60 CHECK (misfire_grace_s > 0),
        ADD COLUMN catch_up_s double precision NOT NULL DEFAULT 3600 CHECK (catch_up_s > 0),
        ADD COLUMN overlap text NOT NULL DEFAULT 'allow' CHECK (overlap IN ('allow', 'skip')),
        ADD COLUMN priority smallint CHECK (priority BETWEEN 0 AND 9),
        ADD COLUMN owner bigint,
        ADD COLUMN starts_at timestamptz NOT NULL DEFAULT date_trunc('second', now()),
        ADD COLUMN next_fire_time timestamptz,
        ADD COLUMN last_fire_time timestamptz,
        ADD COLUMN paused_at timestamptz,
        ADD COLUMN paused_by bigint,
        ADD COLUMN declared text,
        ADD COLUMN overridden_at timestamptz,
        ADD COLUMN overridden_by bigint,
        ADD COLUMN revision integer NOT NULL DEFAULT 0,
        ADD CONSTRAINT schedule_disabled_does_not_fire CHECK (enabled OR next_fire_time IS NULL),
        ADD CONSTRAINT schedule_paused_is_disabled CHECK (paused_at IS NULL OR NOT enabled)
    """,
    "CREATE INDEX schedule_next_fire_time ON schedule (next_fire_time) WHERE next_fire_time IS NOT NULL",
    """
    ALTER TABLE schedule_firing
        ADD COLUMN fired_at timestamptz NOT NULL DEFAULT now(),
        ADD COLUMN detail text,
        ADD CONSTRAINT schedule_firing_outcome
            CHECK (outcome IN ('submitted', 'skipped_overlap', 'skipped_misfire', 'failed'))
    """,
    "CREATE INDEX schedule_firing_fired_at ON schedule_firing (fired_at)",
    # Index of schedules whose submitted task has not ended. Its condition uses only the columns
    # that say where a task is (`send_at`, `sent_at` and `holder`), and never the status.
    """
    CREATE INDEX task_schedule ON task (schedule)
    WHERE schedule IS NOT NULL AND num_nonnulls(send_at, sent_at, holder) > 0
    """,
]


async def forwards() -> MigrationManager:
    return in_sql(ID, "ledger", DESCRIPTION, STATEMENTS)
