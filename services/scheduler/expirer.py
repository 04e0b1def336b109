"""Fails waiting tasks whose `expires_at` has passed, even if no worker serves their queue."""

from services.scheduler.dispatcher import BATCH
from shared.ledger.database import Database
from shared.ledger.lifecycle import EXPIRED_MESSAGE, ErrorKind, Status
from shared.ledger.tally import Tally
from shared.ledger.transitions.expire import EXPIRE
from shared.telemetry import metrics
from shared.transport.events import Changes, Publisher, TaskChange
from shared.transport.queues import Queues

EVERY_S = 2.0


class Expirer:
    """Background service of the leading scheduler that fails expired tasks."""

    def __init__(self, database: Database, queues: Queues, tally: Tally) -> None:
        self._database = database
        self._publisher = Publisher(queues)
        self._tally = tally

    async def run_once(self) -> bool:
        """Fail one batch of expired tasks. Returns True if there may be more."""
        rows = await self._database.run(
            EXPIRE, limit=BATCH, error_kind=ErrorKind.EXPIRED, error_message=EXPIRED_MESSAGE
        )
        for row in rows:
            metrics.EXPIRED.labels(row["queue"], row["name"]).inc()
            self._tally.add(row["queue"], row["name"], Status.FAILURE)
        if rows:
            self._publisher.soon(lambda: Changes([TaskChange.from_row(row) for row in rows]))
        return len(rows) == BATCH
