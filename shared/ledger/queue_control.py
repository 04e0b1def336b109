"""SQL statements that pause and resume queues.

A pause is a row in Postgres, so it remains when processes end and does not depend on Redis.
"""

from shared.ledger.statement import Statement

#: SQL expression for the names of all paused queues, to be used in other statements.
PAUSED = "ARRAY(SELECT queue FROM queue_control WHERE paused_at IS NOT NULL ORDER BY queue) AS paused"

#: Pauses a queue. If it is already paused, the start of its pause remains and the reason is
#: replaced. Returns the new pause and the previous one.
PAUSE = Statement("""
    INSERT INTO queue_control AS c (queue, paused_at, paused_by, reason)
    VALUES (:queue, now(), :account, :reason)
    ON CONFLICT (queue) DO UPDATE SET
        paused_at = coalesce(c.paused_at, excluded.paused_at), paused_by = excluded.paused_by,
        reason = excluded.reason, revision = c.revision + 1
    RETURNING paused_at, paused_by, reason, old.paused_at AS former_paused_at, old.reason AS former_reason
""")

#: Ends the pause of a queue and returns it. Returns no row if the queue is not paused.
RESUME = Statement("""
    UPDATE queue_control SET paused_at = NULL, paused_by = NULL, reason = NULL, revision = revision + 1
    WHERE queue = :queue AND paused_at IS NOT NULL
    RETURNING old.paused_at, old.paused_by, old.reason
""")

#: Reads the state of every queue that was ever paused.
CONTROLS = Statement("SELECT queue, paused_at, paused_by, reason FROM queue_control ORDER BY queue")

#: Queues that cannot be paused. Bulk operations run as tasks in the queue `operations`, and they
#: must be available to clear other queues.
NEVER_PAUSED = frozenset({"operations"})

#: Takes the waiting tasks of all queues that expire next. Counts those in one queue, and returns
#: when the first of them expires.
EXPIRING = Statement("""
    SELECT count(*)::int AS expiring, min(expires_at) AS first FROM (
        SELECT queue, expires_at FROM task
        WHERE expires_at IS NOT NULL AND num_nonnulls(send_at, sent_at) > 0
        ORDER BY expires_at LIMIT :limit
    ) AS t WHERE queue = :queue
""")
