"""Learns which held tasks are to be canceled: at once by a hint, and for certain by reading the ledger.

A message on the channel is only a hint, for anybody may publish there: the ledger says whether the request
exists.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from services.worker.claims.claims import Claims
from services.worker.claims.subscription import Subscription
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

LOOK_UP_S = 1.0

#: Reads the index of held tasks only.
REQUESTED = Statement("""
    SELECT id, cancel_requested_at FROM task WHERE holder = :worker AND cancel_requested_at IS NOT NULL
""")


class CancelRequests:
    """Listens on a channel, which may miss a request, and reads the ledger. Runs on the ledger loop."""

    def __init__(
        self,
        worker: UUID,
        claims: Claims,
        database: Database,
        queues: Queues,
        cancel: Callable[[UUID, datetime | None], None],
    ) -> None:
        self._worker = worker
        self._claims = claims
        self._database = database
        self._queues = queues
        self._cancel = cancel
        self._subscription = Subscription(queues)

    async def look_up(self) -> set[UUID]:
        """Pass on what the ledger knows of; returns the tasks that are to be canceled."""
        rows = await self._database.run(REQUESTED, worker=self._worker)
        requests = {UUID(int=row["id"].int): row["cancel_requested_at"] for row in rows}
        for task_id, requested_at in requests.items():
            self._cancel(task_id, requested_at)
        return set(requests)

    async def listen(self) -> None:
        """Wait a second for a hint, and follow it when this worker holds the task."""
        channel = self._queues.cancel_channel
        data = await self._subscription.next(channel)
        if data is None:
            return
        if len(data) != 16:
            log.warning("ignored a message on %s that is no task id: %.100r", channel, data[:100])
            return
        await self._follow(UUID(bytes=data))

    async def _follow(self, task_id: UUID) -> None:
        if task_id in self._claims and task_id not in await self.look_up():
            log.warning("ignored a hint to cancel task %s: the ledger has no such request", task_id)
