"""What operators and clients do to a task: cancel it, or let it begin again."""

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

#: A task that failed or was revoked begins again. Returns the change and the former status.
RETRY = Ending(
    given="""
        ended AS (SELECT * FROM task WHERE id = :id AND status IN ('failure', 'revoked') FOR UPDATE),
    """,
    update=begin_again(),
    closing=LAST_ATTEMPT,
    reopens="ended",
    answer=f"SELECT {CHANGED}, (SELECT status FROM ended) AS former_status FROM applied",
)
