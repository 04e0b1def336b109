"""Sends what is due: delays, retries, ids whose submitter died or found Redis away."""

from uuid import UUID

from shared.ledger import engine, statements
from shared.telemetry import metrics
from shared.transport.queues import Address, Queues

#: How often the leader looks; the most that a due task waits for its turn.
EVERY_S = 0.25
#: Ids per round; a round that is full is followed by the next one at once.
BATCH = 2_000

#: Reads the index of `send_at` only, so a backlog in Redis is never looked at. values: limit.
DUE = "SELECT id, claim, queue, priority, suspect FROM task WHERE send_at <= now() ORDER BY send_at LIMIT {}"


class Dispatcher:
    """Moves due rows from Postgres into their lanes."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def run_once(self) -> bool:
        """Push a batch, then mark it; True when there may be more.

        A death in between sends ids twice, which does no harm.
        """
        rows = await engine.run(DUE, BATCH)
        if not rows:
            return False
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        marks = sorted((row["id"], row["claim"]) for row in rows)
        ids, claims = zip(*marks, strict=True)
        await engine.run(statements.MARK_SENT, list(ids), list(claims))
        metrics.SENT.labels("due").inc(len(rows))
        return len(rows) == BATCH
