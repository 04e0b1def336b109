"""Adds the requests of operators to queues and workers.

A queue can be paused. A worker can be asked to take no new tasks, to drain or to replace itself.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, AddConstraint, Brief, Step
from shared.sql_migration import in_steps

ID = "2026-11-30T19:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Paused queues, and what workers are asked to do"

QUEUE_CONTROL = """
    CREATE TABLE IF NOT EXISTS queue_control (
        queue text PRIMARY KEY,
        paused_at timestamptz,
        paused_by bigint,
        reason text,
        revision integer NOT NULL DEFAULT 0
    )
"""
STATES = """
    ALTER TABLE worker DROP CONSTRAINT IF EXISTS worker_state_check,
        ADD CONSTRAINT worker_state_check CHECK (state IN ('running', 'quiet', 'draining'))
"""

STEPS: list[Step] = [
    Brief(sql=QUEUE_CONTROL),
    AddColumn(table="worker", name="release", definition="text"),
    AddColumn(table="worker", name="memory_bytes", definition="bigint"),
    AddColumn(table="worker", name="asked", definition="text"),
    Brief(sql=STATES),
    AddConstraint(
        table="worker",
        name="worker_asked_check",
        definition="CHECK (asked IN ('quiet', 'drain', 'recycle'))",
    ),
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
