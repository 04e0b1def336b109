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

#: A task begins again. Counters and blame are forgotten; the last attempt is kept among the others. The claim
#: goes up, so that nothing from before can write.
_BEGIN_AGAIN = """
        UPDATE task AS t SET status = 'pending', claim = t.claim + 1, send_at = now(), completed_at = NULL,
            failures = 0, crashes = 0, suspect = false, started_at = NULL, execution_time_seconds = NULL,
            progress_current = 0, progress_message = NULL, result = NULL, error_kind = NULL,
            error_message = NULL, error_traceback = NULL, error_fingerprint = NULL,
            cancel_requested_at = NULL, expires_at = NULL, wait_reason = :reason, revision = t.revision + 1
        FROM ended WHERE t.id = ended.id
"""
_LAST_ATTEMPT = """
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
    update=_BEGIN_AGAIN,
    closing=_LAST_ATTEMPT,
    reopens="ended",
    answer=f"SELECT {CHANGED}, (SELECT status FROM ended) AS former_status FROM applied",
)

#: The same for the tasks of a workflow that are missing to its success: not those of handlers, nor the rest
#: of a group of which enough have succeeded. Returns their ids.
RETRY_MEMBERS = Ending(
    given="""
        ended AS (
            SELECT t.* FROM workflow_step AS s JOIN task AS t ON t.workflow = s.workflow AND t.step = s.name
            WHERE s.workflow = :workflow AND s.state IN ('failure', 'revoked') AND NOT s.handler
              AND t.status IN ('failure', 'revoked')
            ORDER BY t.id LIMIT :limit FOR UPDATE OF t
        ),
    """,
    update=_BEGIN_AGAIN,
    closing=_LAST_ATTEMPT,
    reopens="ended",
    answer="SELECT id FROM applied",
)
