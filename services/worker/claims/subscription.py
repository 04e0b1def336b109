"""One channel of Redis, listened to from a loop. An error closes it, and the next round opens it again."""

import contextlib

from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.transport.queues import Queues

#: How long one round waits for a message.
WAIT_S = 1.0


class Subscription:
    """Runs on the ledger loop."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._opened: PubSub | None = None

    async def next(self, channel: str) -> bytes | None:
        """The next message, or None after a second."""
        try:
            if self._opened is None:
                self._opened = self._queues.client.pubsub()
                await self._opened.subscribe(channel)
            message = await self._opened.get_message(ignore_subscribe_messages=True, timeout=WAIT_S)
        except BaseException:
            await self._close()
            raise
        data = None if message is None else message["data"]
        return data if isinstance(data, bytes) else None

    async def _close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with contextlib.suppress(RedisError, OSError):
                await opened.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped
