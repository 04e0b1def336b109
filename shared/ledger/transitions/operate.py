"""SQL by which operators and clients cancel, change or reopen a single task."""

from typing import Any, Final

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: Cancels a task. If it is waiting, it is canceled immediately, and its id in Redis can no longer
#: be claimed. If a worker holds it, the worker will see the request. Returns the changed task and
#: the worker that holds it.
CANCEL = Ending(
    update="""
        UPDATE task AS t SET
            cancel_requested_at = coalesce(cancel_requested_at, now()),
            status = CASE WHEN holder IS NULL THEN 'revoked' ELSE status END,
            completed_at = CASE WHEN holder IS NULL THEN now() END,
            send_at = NULL, sent_at = NULL, revision = revision + 1
        WHERE id = :id AND status IN ('pending', 'started', 'retry')
    """,
    answer=f"SELECT {CHANGED}, holder FROM applied",
)

#: Assignments that change a task. A null value leaves a column unchanged. `params` is accompanied
#: by the key that encrypted it and the contract version to which it belongs.
_EDITS = """
            params = coalesce(:params::text::jsonb, t.params),
            key_id = CASE WHEN :params::text IS NULL THEN t.key_id ELSE :key_id::text END,
            contract_version = coalesce(:version::smallint, t.contract_version),
            queue = coalesce(:queue::text, t.queue), priority = coalesce(:priority::smallint, t.priority)
"""
#: Values for these assignments that change nothing.
UNEDITED: Final[dict[str, Any]] = dict.fromkeys(("params", "key_id", "version", "queue", "priority"))

#: Changes a waiting task. The claim number goes up, so that neither its id in a Redis lane nor a
#: late mark that the id was sent has an effect. Returns the changed task with the values before and
#: after, or no row if the task is not waiting.
EDIT = Statement(f"""
    UPDATE task AS t SET {_EDITS},
        send_at = greatest(now(), coalesce(:send_at::timestamptz, t.send_at)), sent_at = NULL,
        wait_reason = NULL, claim = t.claim + 1, revision = t.revision + 1
    WHERE t.id = :id AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
    RETURNING {CHANGED}, priority, send_at,
              old.queue AS former_queue, old.priority AS former_priority, old.send_at AS former_send_at
""")

#: Starts a delayed task or a retry now. A task that is already in a Redis lane stays there. Returns
#: the changed task and its former `send_at`, or no row if it is not waiting.
RUN_NOW = Statement(f"""
    UPDATE task AS t SET send_at = CASE WHEN t.send_at IS NOT NULL THEN now() END, wait_reason = NULL,
        claim = t.claim + (t.send_at IS NOT NULL)::int, revision = t.revision + 1
    WHERE t.id = :id AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
    RETURNING {CHANGED}, suspect, old.send_at AS former_send_at
""")

#: Reads the ids of tasks that wait in a queue. They wait in Postgres or in a Redis lane. One
#: snapshot covers both places, so a task that moves between them is not missed. The ORDER BY
#: clauses make Postgres use the index of each place.
FIND_WAITING = Statement("""
    (SELECT id FROM task WHERE queue = :queue AND sent_at IS NOT NULL
     ORDER BY priority, sent_at LIMIT :limit)
    UNION ALL
    (SELECT id FROM task WHERE queue = :queue AND send_at IS NOT NULL
     ORDER BY send_at LIMIT :limit)
    LIMIT :limit
""")

#: Cancels those of the given tasks that still wait in the queue. Their ids in Redis lanes can then
#: no longer be claimed. It waits for locked rows, and locks rows in the order of their ids, like
#: all statements over given ids. Returns the changed tasks.
PURGE = Ending(
    given="""
        doomed AS MATERIALIZED (
            SELECT t.id FROM task AS t
            WHERE t.id = ANY(:ids::uuid[]) AND t.queue = :queue
              AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
            ORDER BY t.id FOR UPDATE OF t
        ),
    """,
    update="""
        UPDATE task AS t SET status = 'revoked', completed_at = now(), send_at = NULL, sent_at = NULL,
            cancel_requested_at = coalesce(t.cancel_requested_at, now()), revision = t.revision + 1
        FROM doomed WHERE t.id = doomed.id
    """,
    answer=f"SELECT {CHANGED} FROM applied",
)


def begin_again(*, due: str = "now()", expires: str = "NULL", more: str = "") -> str:
    """SQL of the UPDATE that reopens the tasks of the CTE `ended`.

    It resets the counters, and the suspicion that a task kills its worker. The claim number goes
    up, so that no worker with an earlier claim can write. `more` contains further assignments, each
    followed by a comma.
    """
    return f"""
        UPDATE task AS t SET status = 'pending', claim = t.claim + 1, send_at = {due}, completed_at = NULL,
            failures = 0, crashes = 0, suspect = false, started_at = NULL, execution_time_seconds = NULL,
            progress_current = 0, progress_message = NULL, result = NULL, error_kind = NULL,
            error_message = NULL, error_traceback = NULL, error_fingerprint = NULL, {more}
            cancel_requested_at = NULL, expires_at = {expires}, wait_reason = :reason,
            revision = t.revision + 1
        FROM ended WHERE t.id = ended.id
    """


#: Selects the last attempt of each reopened task, to be stored in `task_attempt`.
LAST_ATTEMPT = """
        SELECT e.id, e.claim, e.attempt, e.worker, e.started_at, e.completed_at, e.status,
            e.execution_time_seconds, e.error_kind, e.error_message, e.error_traceback, e.error_fingerprint
        FROM ended AS e
        WHERE e.attempt > 0 AND NOT EXISTS (
            SELECT 1 FROM task_attempt AS a WHERE a.task_id = e.id AND a.attempt = e.attempt
        )
"""

#: Reopens a task that failed or was canceled, after a delay of `delay_s` and with changed values.
#: Returns the changed task and its former status.
RETRY = Ending(
    given="""
        ended AS (SELECT * FROM task WHERE id = :id AND status IN ('failure', 'revoked') FOR UPDATE),
    """,
    update=begin_again(
        due="now() + make_interval(secs => coalesce(:delay_s::float8, 0))", more=f"{_EDITS.rstrip()},"
    ),
    closing=LAST_ATTEMPT,
    reopens="ended",
    answer=f"SELECT {CHANGED}, (SELECT status FROM ended) AS former_status FROM applied",
)

#: Reopens a task that failed because it repeatedly killed its worker. A task of a workflow is left
#: out; its workflow is retried instead, because handlers of the failure may have run. Returns the
#: changed task and the number of workers that it killed.
RELEASE = Ending(
    given="""
        ended AS (
            SELECT * FROM task
            WHERE id = :id AND status = 'failure' AND error_kind = :crash_loop AND workflow IS NULL FOR UPDATE
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    begins_again=True,
    answer=f"SELECT {CHANGED}, (SELECT crashes FROM ended) AS crashes FROM applied",
)
