"""Creates the ledger: the tables of tasks, their attempts, logs and workers.

It also adds the CHECK that a task is in one place, the indexes, and the partitions of the first two
weeks.
"""

from datetime import UTC, datetime

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.ledger import partitions
from shared.sql_migration import in_sql

ID = "2026-11-22T12:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "The ledger"

STATEMENTS = [
    """
    CREATE TABLE task (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        name text NOT NULL,
        type text NOT NULL,
        contract_version smallint NOT NULL DEFAULT 1,
        queue text NOT NULL,
        priority smallint NOT NULL DEFAULT 5 CHECK (priority BETWEEN 0 AND 9),
        status text NOT NULL DEFAULT 'pending'
            CHECK (status IN ('pending', 'started', 'success', 'failure', 'retry', 'revoked')),
        params jsonb NOT NULL,
        result jsonb,
        key_id text,
        error_kind text,
        error_message text,
        error_traceback text,
        error_fingerprint text,
        progress_current integer NOT NULL DEFAULT 0 CHECK (progress_current >= 0),
        progress_total integer NOT NULL DEFAULT 100 CHECK (progress_total > 0),
        progress_message text,
        send_at timestamptz,
        sent_at timestamptz,
        holder uuid,
        claim integer NOT NULL DEFAULT 0,
        worker uuid,
        attempt integer NOT NULL DEFAULT 0,
        failures integer NOT NULL DEFAULT 0,
        max_attempts smallint NOT NULL DEFAULT 1 CHECK (max_attempts > 0),
        crashes integer NOT NULL DEFAULT 0,
        interruptions integer NOT NULL DEFAULT 0,
        suspect boolean NOT NULL DEFAULT false,
        wait_reason text,
        created_at timestamptz NOT NULL DEFAULT now(),
        claimed_at timestamptz,
        started_at timestamptz,
        completed_at timestamptz,
        expires_at timestamptz,
        execution_time_seconds double precision,
        owner bigint,
        parent uuid,
        workflow uuid,
        step text,
        schedule text,
        fire_time timestamptz,
        limit_key text,
        unique_key text,
        cancel_requested_at timestamptz,
        revision integer NOT NULL DEFAULT 0,
        trace_context text,
        CONSTRAINT task_is_in_one_place CHECK (
            num_nonnulls(send_at, sent_at, holder)
            = CASE WHEN status IN ('pending', 'started', 'retry') THEN 1 ELSE 0 END
        ),
        CONSTRAINT task_started_is_held CHECK (status <> 'started' OR holder IS NOT NULL),
        CONSTRAINT task_final_has_an_end CHECK (
            (completed_at IS NOT NULL) = (status IN ('success', 'failure', 'revoked'))
        )
    ) PARTITION BY RANGE (id)
    """,
    "CREATE INDEX task_send_at ON task (send_at) WHERE send_at IS NOT NULL",
    "CREATE INDEX task_sent_at ON task (queue, priority, sent_at, id) WHERE sent_at IS NOT NULL",
    "CREATE INDEX task_holder ON task (holder) WHERE holder IS NOT NULL",
    "CREATE INDEX task_owner ON task (owner, id)",
    """
    CREATE TABLE task_attempt (
        task_id uuid NOT NULL,
        claim integer NOT NULL,
        attempt integer NOT NULL,
        worker uuid,
        started_at timestamptz,
        ended_at timestamptz NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('retry', 'interrupted', 'crashed')),
        execution_time_seconds double precision,
        error_kind text,
        error_message text,
        error_traceback text,
        error_fingerprint text,
        PRIMARY KEY (task_id, claim)
    ) PARTITION BY RANGE (task_id)
    """,
    """
    CREATE TABLE task_log (
        task_id uuid NOT NULL,
        claim integer NOT NULL,
        ordinal integer NOT NULL,
        logged_at timestamptz NOT NULL,
        level text NOT NULL,
        message text NOT NULL,
        PRIMARY KEY (task_id, claim, ordinal)
    ) PARTITION BY RANGE (task_id)
    """,
    """
    CREATE TABLE worker (
        id uuid PRIMARY KEY,
        hostname text NOT NULL,
        pid integer NOT NULL,
        queues text[] NOT NULL,
        threads smallint NOT NULL,
        state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'draining')),
        lock_key bigint NOT NULL UNIQUE,
        beat bigint NOT NULL DEFAULT 0,
        started_at timestamptz NOT NULL DEFAULT now(),
        heartbeat_at timestamptz NOT NULL DEFAULT now(),
        dead_at timestamptz,
        stopped_at timestamptz
    )
    """,
    "CREATE INDEX worker_alive ON worker (id) WHERE dead_at IS NULL AND stopped_at IS NULL",
    """
    CREATE TABLE schedule (
        name text PRIMARY KEY,
        task_name text NOT NULL,
        params jsonb NOT NULL,
        kind text NOT NULL CHECK (kind IN ('cron', 'interval', 'once')),
        expression text NOT NULL,
        time_zone text NOT NULL DEFAULT 'UTC',
        enabled boolean NOT NULL DEFAULT true,
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE schedule_firing (
        schedule text NOT NULL,
        fire_time timestamptz NOT NULL,
        task_id uuid,
        outcome text NOT NULL,
        PRIMARY KEY (schedule, fire_time)
    )
    """,
    """
    CREATE TABLE workflow (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        name text NOT NULL,
        status text NOT NULL,
        owner bigint,
        created_at timestamptz NOT NULL DEFAULT now(),
        completed_at timestamptz
    )
    """,
    """
    CREATE TABLE submission_key (
        scope text NOT NULL,
        key text NOT NULL,
        task_id uuid NOT NULL,
        body_hash bytea,
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (scope, key)
    )
    """,
    """
    CREATE TABLE generation (
        id smallint PRIMARY KEY CHECK (id = 1),
        number bigint NOT NULL,
        run_id text,
        resend_cursor jsonb,
        checked_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    "INSERT INTO generation (id, number) VALUES (1, 0)",
    """
    CREATE TABLE leader_lease (
        name text PRIMARY KEY,
        term bigint NOT NULL,
        holder uuid NOT NULL,
        expires_at timestamptz NOT NULL
    )
    """,
]


#: The partitioned tables that this migration creates. Later migrations add others.
TABLES = ("task", "task_attempt", "task_log")


async def forwards() -> MigrationManager:
    first_days = [
        statement
        for day in partitions.days_needed(datetime.now(UTC).date())
        for table in TABLES
        for statement in partitions.create(table, day)
    ]
    return in_sql(ID, "ledger", DESCRIPTION, [*STATEMENTS, *first_days])
