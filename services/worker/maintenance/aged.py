"""Deletes rows that are too old from the platform's own tables.

These are idempotency keys, firings of schedules, cleanup requests, bulk operations, workers and
workflows.
"""

from datetime import datetime

from shared.contracts.context import Sql
from shared.ledger.transitions.workflow import DELETE_ENDED
from shared.telemetry import metrics

#: Maximum number of rows that one statement deletes.
BATCH = 1_000
#: Maximum number of workflows that one statement deletes. Each may have 1,000 steps.
WORKFLOWS = 100

#: Statements that delete old rows, by the name of the table. Each deletes one batch and takes its
#: size as argument. The idempotency key of a child task is kept until its parent task has ended.
#: Without the key, a parent that runs again would submit the child a second time.
AGED = {
    "submission_key": """
        DELETE FROM submission_key WHERE ctid IN (
            SELECT k.ctid FROM submission_key AS k
            WHERE k.created_at < now() - interval '24 hours' AND NOT EXISTS (
                SELECT 1 FROM task AS t
                WHERE t.id = CASE WHEN k.scope LIKE 'task:%' THEN substr(k.scope, 6)::uuid END
                  AND num_nonnulls(t.send_at, t.sent_at, t.holder) > 0
            ) LIMIT {}
        ) RETURNING 1
    """,
    "schedule_firing": """
        DELETE FROM schedule_firing WHERE ctid IN (
            SELECT ctid FROM schedule_firing WHERE fired_at < now() - interval '30 days' LIMIT {}
        ) RETURNING 1
    """,
    "cleanup_request": """
        DELETE FROM cleanup_request WHERE task IN (
            SELECT task FROM cleanup_request WHERE requested_at < now() - interval '1 day' LIMIT {}
        ) RETURNING 1
    """,
    "bulk_act": """
        DELETE FROM bulk_act WHERE id IN (
            SELECT b.id FROM bulk_act AS b
            WHERE b.created_at < now() - interval '30 days' AND NOT EXISTS (
                SELECT 1 FROM task AS t
                WHERE t.id = b.task AND num_nonnulls(t.send_at, t.sent_at, t.holder) > 0
            ) LIMIT {}
        ) RETURNING 1
    """,
    "worker": """
        DELETE FROM worker WHERE id IN (
            SELECT w.id FROM worker AS w
            WHERE least(w.dead_at, w.stopped_at) < now() - interval '7 days'
              AND NOT EXISTS (SELECT 1 FROM task AS t WHERE t.holder = w.id)
            LIMIT {}
        ) RETURNING 1
    """,
}


async def prune(database: Sql) -> None:
    """Delete the old rows of all tables in AGED, batch by batch."""
    for table, sql in AGED.items():
        while True:
            gone = len(await database.run(sql, BATCH))
            metrics.PRUNED.labels(table).inc(gone)
            if gone < BATCH:
                break


async def prune_workflows(database: Sql, ended_before: datetime) -> None:
    """Delete the workflows that ended before `ended_before`, batch by batch.

    The same cutoff applies to tasks.
    """
    gone = WORKFLOWS
    while gone == WORKFLOWS:
        gone = len(await database.run(DELETE_ENDED, ended_before=ended_before, limit=WORKFLOWS))
        metrics.PRUNED.labels("workflow").inc(gone)
