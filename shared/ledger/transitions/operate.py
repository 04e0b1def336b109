"""What operators and clients do to a task: cancel it, change what waits, or let it begin again."""

from typing import Any, Final

from shared.ledger.statement import Statement
from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: A waiting task is revoked at once, and an id of it in Redis loses at its claim. The worker of a held task
#: hears of the request. Returns the change and the holder.
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

#: Null leaves a value as it is; `params` comes with the key that sealed it and the version that it fits.
_EDITS = """
            params = coalesce(:params::text::jsonb, t.params),
            key_id = CASE WHEN :params::text IS NULL THEN t.key_id ELSE :key_id::text END,
            contract_version = coalesce(:version::smallint, t.contract_version),
            queue = coalesce(:queue::text, t.queue), priority = coalesce(:priority::smallint, t.priority)
"""
#: Values of an edit that changes nothing.
UNEDITED: Final[dict[str, Any]] = dict.fromkeys(("params", "key_id", "version", "queue", "priority"))

#: Changes a task that waits. The claim goes up: an id of it that is in a lane, and a mark that comes late, no
#: longer count. Returns the change and the values before and after, or nothing when the task does not wait.
EDIT = Statement(f"""
    UPDATE task AS t SET {_EDITS},
        send_at = greatest(now(), coalesce(:send_at::timestamptz, t.send_at)), sent_at = NULL,
        wait_reason = NULL, claim = t.claim + 1, revision = t.revision + 1
    WHERE t.id = :id AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
    RETURNING {CHANGED}, priority, send_at,
              old.queue AS former_queue, old.priority AS former_priority, old.send_at AS former_send_at
""")

#: A delayed task or a retry starts now; what is in a lane already stays there. Returns the change and where
#: the task was, or nothing when it does not wait.
RUN_NOW = Statement(f"""
    UPDATE task AS t SET send_at = CASE WHEN t.send_at IS NOT NULL THEN now() END, wait_reason = NULL,
        claim = t.claim + (t.send_at IS NOT NULL)::int, revision = t.revision + 1
    WHERE t.id = :id AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
    RETURNING {CHANGED}, suspect, old.send_at AS former_send_at
""")

_REVOKED = """
        UPDATE task AS t SET status = 'revoked', completed_at = now(), send_at = NULL, sent_at = NULL,
            cancel_requested_at = coalesce(t.cancel_requested_at, now()), revision = t.revision + 1
        FROM doomed WHERE t.id = doomed.id AND (t.send_at IS NOT NULL OR t.sent_at IS NOT NULL) IS TRUE
"""

#: Cancels tasks of a queue whose ids are in lanes, where they lose at their claim. Returns their names.
PURGE_SENT = Ending(
    given="""
        doomed AS (
            SELECT id FROM task WHERE queue = :queue AND sent_at IS NOT NULL
            LIMIT :limit FOR UPDATE SKIP LOCKED
        ),
    """,
    update=_REVOKED,
    answer="SELECT name FROM applied",
)

#: The same for delayed tasks and retries, among the next `limit` of all queues after a position. Returns the
#: names of those that were canceled, how many were examined, and the position of the last one.
PURGE_UNSENT = Ending(
    given="""
        stretch AS MATERIALIZED (
            SELECT id, queue, send_at FROM task WHERE (send_at, id) > (:after::timestamptz, :last::uuid)
            ORDER BY send_at, id LIMIT :limit
        ), doomed AS (
            SELECT t.id FROM stretch AS s JOIN task AS t ON t.id = s.id
            WHERE s.queue = :queue AND t.queue = :queue AND t.send_at IS NOT NULL
            FOR UPDATE OF t SKIP LOCKED
        ),
    """,
    update=_REVOKED,
    answer="""
        SELECT ARRAY(SELECT name FROM applied) AS names,
               (SELECT count(*)::int FROM stretch) AS looked_at,
               (SELECT send_at FROM stretch ORDER BY send_at DESC, id DESC LIMIT 1) AS after,
               (SELECT id FROM stretch ORDER BY send_at DESC, id DESC LIMIT 1) AS last
    """,
)


def begin_again(*, due: str = "now()", expires: str = "NULL", more: str = "") -> str:
    """The UPDATE by which the tasks of the CTE `ended` begin again.

    Counters and blame are forgotten. The claim goes up, so that nothing from before can write. `more` are
    further assignments, each followed by a comma.
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


#: The last attempt of tasks that begin again is kept among the others.
LAST_ATTEMPT = """
        SELECT e.id, e.claim, e.attempt, e.worker, e.started_at, e.completed_at, e.status,
            e.execution_time_seconds, e.error_kind, e.error_message, e.error_traceback, e.error_fingerprint
        FROM ended AS e
        WHERE e.attempt > 0 AND NOT EXISTS (
            SELECT 1 FROM task_attempt AS a WHERE a.task_id = e.id AND a.attempt = e.attempt
        )
"""

#: A task that failed or was revoked begins again, after `delay_s` and with the edits. Returns the change and
#: the former status.
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

#: The same for a task that was given up because it kills workers. Returns the change and its crashes.
RELEASE = Ending(
    given="""
        ended AS (
            SELECT * FROM task WHERE id = :id AND status = 'failure' AND error_kind = :crash_loop FOR UPDATE
        ),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    reopens="ended",
    answer=f"SELECT {CHANGED}, (SELECT crashes FROM ended) AS crashes FROM applied",
)
