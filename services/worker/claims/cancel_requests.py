"""Finds out which of this worker's tasks should be canceled.

A Redis message announces a cancel request immediately. It is only a hint, because any client of
Redis can publish on the channel and messages may be lost. Whether there is a request is read from
the task's row in Postgres.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from services.worker.claims.claims import Claims
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import Queues
from shared.transport.subscription import Subscription

log = logging.getLogger(__name__)

LOOK_UP_S = 1.0

#: Reads the cancel requests for the tasks that this worker holds, through the index of held tasks
#: only.
REQUESTED = Statement("""
    SELECT id, cancel_requested_at FROM task WHERE holder = :worker AND cancel_requested_at IS NOT NULL
""")


class CancelRequests:
    """Watches for cancel requests for the tasks of this worker.

    A message may be lost, so the requests are also read from Postgres regularly. Use this class
    only on the ledger event loop.
    """

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
        self._subscription = Subscription(queues, lambda: queues.cancel_channel)

    async def look_up(self) -> set[UUID]:
        """Read the cancel requests from Postgres and pass each one on.

        Returns the ids of the tasks that should be canceled.
        """
        rows = await self._database.run(REQUESTED, worker=self._worker)
        requests = {UUID(int=row["id"].int): row["cancel_requested_at"] for row in rows}
        for task_id, requested_at in requests.items():
            self._cancel(task_id, requested_at)
        return set(requests)

    async def listen(self) -> None:
        """Wait up to a second for a message. If it names a task of this worker, look up its cancel
        request.

        Raises ServerUnavailable.
        """
        data = await self._subscription.next()
        if data is None:
            return
        if len(data) != 16:
            text = "ignored a message that is no task id: %.100r"
            log.warning(text, data[:100], extra={"channel": self._queues.cancel_channel})
            return
        await self._follow(UUID(bytes=data))

    async def _follow(self, task_id: UUID) -> None:
        if task_id in self._claims and task_id not in await self.look_up():
            text = "ignored a hint to cancel a task: the ledger has no cancel request for it"
            log.warning(text, extra={"task_id": str(task_id)})
