"""Sends what is due: delayed tasks, retries, and ids whose submitter died or found Redis away."""

from uuid import UUID

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import MARK_SENT
from shared.telemetry import metrics
from shared.transport.queues import Address, Queues

#: Interval of the leader's rounds: the longest that a due task waits to be sent.
EVERY_S = 0.25
#: Ids per round; a full round is followed by the next one at once.
BATCH = 2_000

#: Reads the index of `send_at` only, so a backlog in Redis costs nothing.
DUE = Statement("""
    SELECT id, claim, queue, priority, suspect FROM task WHERE send_at <= now() ORDER BY send_at LIMIT :limit
""")


class Dispatcher:
    """Moves due rows from Postgres into their lanes."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    async def run_once(self) -> bool:
        """Push a batch, then mark it; True when there may be more.

        A death in between sends ids twice, which does no harm.
        """
        rows = await self._database.run(DUE, limit=BATCH)
        if not rows:
            return False
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        marks = sorted((row["id"], row["claim"]) for row in rows)
        ids, claims = zip(*marks, strict=True)
        await self._database.run(MARK_SENT, id=list(ids), claim=list(claims))
        metrics.SENT.labels("due").inc(len(rows))
        return len(rows) == BATCH
