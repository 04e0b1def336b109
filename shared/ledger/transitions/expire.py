"""SQL that fails tasks which could not start before they expired."""

from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: Fails waiting tasks that have expired. If a worker holds the task, it is left to that worker. If
#: the id of a failed task is still in a Redis lane, it can no longer be claimed. Returns the
#: changed tasks.
EXPIRE = Ending(
    given="""
        late AS (
            SELECT id FROM task WHERE expires_at <= now() AND num_nonnulls(send_at, sent_at) > 0
            ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED
        ),
    """,
    update="""
        UPDATE task AS t SET status = 'failure', completed_at = now(), send_at = NULL, sent_at = NULL,
            error_kind = :error_kind, error_message = :error_message, revision = t.revision + 1
        FROM late
        WHERE t.id = late.id AND (t.holder IS NULL AND num_nonnulls(t.send_at, t.sent_at) > 0) IS TRUE
    """,
    answer=f"SELECT {CHANGED} FROM applied",
)
