"""Hears of cancel requests as they are made, and looks for those that it missed."""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import CANCEL_CHANNEL, Queues

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
        database: Database,
        queues: Queues,
        cancel: Callable[[UUID, datetime | None], None],
    ) -> None:
        self._worker = worker
        self._database = database
        self._queues = queues
        self._cancel = cancel
        self._subscription: PubSub | None = None

    async def look_up(self) -> None:
        """Learn for certain which held tasks are to be canceled."""
        for row in await self._database.run(REQUESTED, worker=self._worker):
            self._cancel(UUID(int=row["id"].int), row["cancel_requested_at"])

    async def listen(self) -> None:
        """Wait a second for a request on the channel."""
        try:
            if self._subscription is None:
                self._subscription = self._queues.client.pubsub()
                await self._subscription.subscribe(CANCEL_CHANNEL)
            message = await self._subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
        except BaseException:
            await self._stop()
            raise
        if message is None:
            return
        try:
            task_id = UUID(bytes=message["data"])
        except (TypeError, ValueError):
            log.warning("ignored a message on %s that is no task id: %.100r", CANCEL_CHANNEL, message["data"])
            return
        self._cancel(task_id, None)

    async def _stop(self) -> None:
        """Close the subscription; the next round opens another one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped
