"""Learns of cancel requests as they are made. A request that is missed arrives with the next heartbeat.

A message is a hint, for anybody may publish on a channel: the ledger says whether the request exists.
"""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.worker.claims.claims import Claims
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

#: Reads when the cancellation of a task was requested; no row when it was not.
REQUESTED = Statement("""
    SELECT cancel_requested_at FROM task WHERE id = :id AND cancel_requested_at IS NOT NULL
""")


class CancelRequests:
    """Subscribes to the channel on which cancel requests are announced. Runs on the ledger loop."""

    def __init__(
        self,
        claims: Claims,
        database: Database,
        queues: Queues,
        cancel: Callable[[UUID, datetime | None], None],
    ) -> None:
        self._claims = claims
        self._database = database
        self._queues = queues
        self._cancel = cancel
        self._subscription: PubSub | None = None

    async def run_once(self) -> None:
        """Wait a second for a hint, and follow it when this worker holds the task."""
        try:
            if self._subscription is None:
                self._subscription = self._queues.client.pubsub()
                await self._subscription.subscribe(self._queues.cancel_channel)
            message = await self._subscription.get_message(ignore_subscribe_messages=True, timeout=1.0)
        except BaseException:
            await self._stop()
            raise
        if message is None:
            return
        data = message["data"]
        if not isinstance(data, bytes) or len(data) != 16:
            channel = self._queues.cancel_channel
            log.warning("ignored a message on %s that is no task id: %.100r", channel, data[:100])
            return
        await self._follow(UUID(bytes=data))

    async def _follow(self, task_id: UUID) -> None:
        if task_id not in self._claims:
            return
        rows = await self._database.run(REQUESTED, id=task_id)
        if rows:
            self._cancel(task_id, rows[0]["cancel_requested_at"])
        else:
            log.warning("ignored a hint to cancel task %s: the ledger has no such request", task_id)

    async def _stop(self) -> None:
        """Close the subscription; the next round opens another one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped
