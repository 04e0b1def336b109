"""SQL that writes what happens to a task in its worker: starts, progress, logs and outcomes."""

from typing import Any

from shared.ledger.statement import Statement
from shared.ledger.transitions.ending import Ending

#: Columns that RECORD returns, because the worker does not know their new values. The worker got
#: the other columns of `changed.CHANGED` when it claimed the task.
_WRITTEN = "id, claim, revision, status, progress_current, progress_total, progress_message"

#: Writes everything that has happened to tasks of a worker since its last write, with one row per
#: task: a start, progress, an outcome, or that the task is given back. All values are absolute, so
#: that a repeated write changes nothing. A task that would wait again is canceled instead if its
#: cancellation was requested. Returns the changed rows.
RECORD = Ending(
    given="""
        given AS (
            SELECT * FROM unnest(
                :id::uuid[], :claim::integer[], :status::text[], :released::boolean[], :attempt::integer[],
                :failures::integer[], :interruptions::integer[], :started_at::timestamptz[],
                :ended_at::timestamptz[], :execution_s::float8[], :wait_s::float8[],
                :progress_current::integer[], :progress_total::integer[], :progress_message::text[],
                :result::text[], :key_id::text[], :error_kind::text[], :error_message::text[],
                :error_traceback::text[], :error_fingerprint::text[], :wait_reason::text[],
                :trace_context::text[]
            ) AS g(id, claim, status, released, attempt, failures, interruptions, started_at, ended_at,
                   execution_s, wait_s, progress_current, progress_total, progress_message, result, key_id,
                   error_kind, error_message, error_traceback, error_fingerprint, wait_reason,
                   trace_context)
        ),
    """,
    update="""
        UPDATE task AS t SET
            status = CASE WHEN g.wait_s IS NOT NULL AND t.cancel_requested_at IS NOT NULL THEN 'revoked'
                          ELSE g.status END,
            attempt = g.attempt,
            failures = g.failures,
            interruptions = t.interruptions + g.interruptions,
            started_at = coalesce(g.started_at, t.started_at),
            completed_at = CASE WHEN g.released AND (g.wait_s IS NULL OR t.cancel_requested_at IS NOT NULL)
                                THEN g.ended_at END,
            execution_time_seconds = g.execution_s,
            progress_total = coalesce(g.progress_total, t.progress_total),
            progress_current = CASE
                WHEN g.status = 'success' THEN coalesce(g.progress_total, t.progress_total)
                ELSE coalesce(g.progress_current, t.progress_current) END,
            progress_message = coalesce(g.progress_message, t.progress_message),
            result = g.result::jsonb,
            key_id = coalesce(t.key_id, g.key_id),
            error_kind = CASE WHEN g.released THEN g.error_kind ELSE t.error_kind END,
            error_message = CASE WHEN g.released THEN g.error_message ELSE t.error_message END,
            error_traceback = CASE WHEN g.released THEN g.error_traceback ELSE t.error_traceback END,
            error_fingerprint = CASE WHEN g.released THEN g.error_fingerprint ELSE t.error_fingerprint END,
            suspect = t.suspect AND NOT (g.released AND g.started_at IS NOT NULL),
            holder = CASE WHEN NOT g.released THEN t.holder END,
            send_at = CASE WHEN g.released AND t.cancel_requested_at IS NULL
                           THEN now() + make_interval(secs => g.wait_s) END,
            wait_reason = g.wait_reason,
            trace_context = coalesce(g.trace_context, t.trace_context),
            revision = t.revision + 1
        FROM given AS g
        WHERE t.id = g.id AND t.claim = g.claim AND (t.holder = :worker) IS TRUE
    """,
    closing="""
        SELECT g.id, g.claim, g.attempt, :worker, g.started_at, g.ended_at,
            CASE WHEN g.interruptions > 0 THEN 'interrupted' ELSE 'retry' END,
            g.execution_s, g.error_kind, g.error_message, g.error_traceback, g.error_fingerprint
        FROM given AS g JOIN applied USING (id)
        WHERE g.released AND g.wait_s IS NOT NULL AND g.started_at IS NOT NULL AND applied.status <> 'revoked'
    """,
    answer=f"SELECT {_WRITTEN} FROM applied",
)

#: Writes log lines of task bodies. Lines are dropped if the worker has lost its claim on the task.
LOG = Statement("""
    INSERT INTO task_log (task_id, claim, ordinal, logged_at, level, message)
    SELECT g.* FROM unnest(:task_id::uuid[], :claim::integer[], :ordinal::integer[],
                           :logged_at::timestamptz[], :level::text[], :message::text[])
        AS g(id, claim, ordinal, logged_at, level, message)
    WHERE EXISTS (SELECT 1 FROM task AS t WHERE t.id = g.id AND t.claim = g.claim)
    ON CONFLICT DO NOTHING
""")

#: Finds the tasks that RECORD did not write because an earlier execution has already recorded their
#: outcome, and returns the same columns as RECORD. For all other tasks that RECORD did not write,
#: the worker has lost its claim.
ALREADY_RECORDED = Statement(f"""
    SELECT {_WRITTEN}
    FROM unnest(:id::uuid[], :claim::integer[]) AS g(id, claim) JOIN task AS t USING (id, claim)
    WHERE t.holder IS NULL
""")

#: Records the success of a task inside the task's own transaction, for `context.complete_in`.
#: Returns no row if the worker has lost its claim on the task.
COMPLETE = Ending(
    update="""
        UPDATE task AS t SET status = 'success', attempt = :attempt, started_at = :started_at,
            completed_at = :ended_at, execution_time_seconds = :execution_s, result = :result::text::jsonb,
            key_id = coalesce(key_id, :key_id), progress_current = progress_total,
            holder = NULL, suspect = false, trace_context = coalesce(:trace_context, trace_context),
            error_kind = NULL, error_message = NULL, error_traceback = NULL, error_fingerprint = NULL,
            revision = revision + 1
        WHERE id = :id AND claim = :claim AND (holder = :worker) IS TRUE
    """
)


def sparse(column: list[Any]) -> list[Any]:
    """Return the column, or an empty array if no row has a value in it.

    Each element of an array costs the driver time, and `unnest` adds the missing nulls.
    """
    return column if any(value is not None for value in column) else []
