"""Fails tasks whose `expires_at` has passed while they wait, also when no worker runs that would notice."""

from services.scheduler.dispatcher import BATCH
from shared.ledger import engine
from shared.ledger.lifecycle import EXPIRED_MESSAGE, ErrorKind
from shared.telemetry import metrics

EVERY_S = 2.0

#: Held ones are the worker's to judge; an id in a lane loses at its claim.
#: values: error kind, message, limit.
EXPIRE = """
    UPDATE task AS t SET status = 'failure', completed_at = now(), send_at = NULL, sent_at = NULL,
        error_kind = {}, error_message = {}, revision = t.revision + 1
    FROM (
        SELECT id FROM task WHERE expires_at <= now() AND num_nonnulls(send_at, sent_at) > 0
        ORDER BY expires_at LIMIT {} FOR UPDATE SKIP LOCKED
    ) AS late
    WHERE t.id = late.id AND (t.holder IS NULL AND num_nonnulls(t.send_at, t.sent_at) > 0) IS TRUE
    RETURNING t.queue, t.name
"""


class Expirer:
    """One of the leader's services."""

    async def run_once(self) -> bool:
        """True when there may be more."""
        rows = await engine.run(EXPIRE, ErrorKind.EXPIRED, EXPIRED_MESSAGE, BATCH)
        for row in rows:
            metrics.EXPIRED.labels(row["queue"], row["name"]).inc()
        return len(rows) == BATCH
