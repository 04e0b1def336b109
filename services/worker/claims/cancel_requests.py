"""Hears of cancel requests as they are made. A request that is missed arrives with the next heartbeat."""

import contextlib
import logging
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.transport.queues import CANCEL_CHANNEL, Queues

log = logging.getLogger(__name__)


class CancelRequests:
    """Subscribes to the channel on which cancel requests are announced. Runs on the ledger loop."""

    def __init__(self, queues: Queues, cancel: Callable[[UUID, datetime | None], None]) -> None:
        self._queues = queues
        self._cancel = cancel
        self._subscription: PubSub | None = None

    async def run_once(self) -> None:
        """Wait a second for a cancel request; one that is missed arrives with a heartbeat."""
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
