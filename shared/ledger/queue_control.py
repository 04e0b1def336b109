"""Which queues are paused. A pause is a row: it outlives every process, and Redis knows nothing of it."""

from shared.ledger.statement import Statement

#: Names of the paused queues, as a part of other statements.
PAUSED = "ARRAY(SELECT queue FROM queue_control WHERE paused_at IS NOT NULL ORDER BY queue) AS paused"

#: Pauses a queue. One that is paused stays so since when it was, for the new reason. Returns the pause, and
#: the one before.
PAUSE = Statement("""
    INSERT INTO queue_control AS c (queue, paused_at, paused_by, reason)
    VALUES (:queue, now(), :account, :reason)
    ON CONFLICT (queue) DO UPDATE SET
        paused_at = coalesce(c.paused_at, excluded.paused_at), paused_by = excluded.paused_by,
        reason = excluded.reason, revision = c.revision + 1
    RETURNING paused_at, paused_by, reason, old.paused_at AS former_paused_at, old.reason AS former_reason
""")

#: Ends the pause of a queue, and returns it. Returns nothing for a queue that is not paused.
RESUME = Statement("""
    UPDATE queue_control SET paused_at = NULL, paused_by = NULL, reason = NULL, revision = revision + 1
    WHERE queue = :queue AND paused_at IS NOT NULL
    RETURNING old.paused_at, old.paused_by, old.reason
""")

#: Every queue that was ever paused.
CONTROLS = Statement("SELECT queue, paused_at, paused_by, reason FROM queue_control ORDER BY queue")

#: Acts on many tasks run as tasks of this queue. If it were paused, they could not be used to clear others.
NEVER_PAUSED = frozenset({"operations"})

#: How many of the waiting tasks that expire next, in all queues, belong to one queue, and when the first of
#: these expires.
EXPIRING = Statement("""
    SELECT count(*)::int AS expiring, min(expires_at) AS first FROM (
        SELECT queue, expires_at FROM task
        WHERE expires_at IS NOT NULL AND num_nonnulls(send_at, sent_at) > 0
        ORDER BY expires_at LIMIT :limit
    ) AS t WHERE queue = :queue
""")
