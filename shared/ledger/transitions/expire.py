"""Fails tasks whose deadline passed while they waited."""

from shared.ledger.transitions.changed import CHANGED
from shared.ledger.transitions.ending import Ending

#: A held task is left to its worker; an id in a lane loses at its claim. Returns the changes.
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
