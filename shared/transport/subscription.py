"""Receives the messages of one Redis channel in a background loop. Every subscription of this
project uses this class.

An error closes the subscription, and the next call opens it again. The code that runs the
background loop logs the error and how long it lasts.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from shared.errors import ServerAway
from shared.transport.answers import answer_of
from shared.transport.queues import Queues

#: How long one call of `next` waits for a message, in seconds.
WAIT_S = 1.0
#: How long one call of `next` waits while the id of the system is unknown, in seconds. The
#: channel's name contains that id.
UNNAMED_S = 0.1
#: Interval between pings of the subscription, and how long it may be silent before it counts as
#: lost, both in seconds.
PING_S, SILENCE_S = 3.0, 6.0


class Subscription:
    """A subscription to one Redis channel. It belongs to one event loop."""

    def __init__(
        self,
        queues: Queues,
        channel: Callable[[], str],
        *,
        client: Redis | None = None,
        opened: Callable[[], None] = lambda: None,
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        """`client` is used only for this subscription. If it is not given, the client of the queues
        is used.

        `opened` is called each time the subscription begins to receive messages; earlier messages
        were missed. `lost` is called if an error has ended the subscription, or has prevented it
        from opening, but not if the caller is canceled.
        """
        self._queues = queues
        self._channel = channel
        self._client = client or queues.client
        self._opened = opened
        self._lost = lost
        self._pubsub: PubSub | None = None
        self._asked = self._heard = 0.0

    async def next(self) -> bytes | None:
        """Wait for the next message. Returns None if none arrives within WAIT_S. Raises
        ServerUnavailable.
        """
        if self._queues.system is None:
            await asyncio.sleep(UNNAMED_S)
            return None
        try:
            if self._pubsub is None:
                self._pubsub = self._client.pubsub()
                await self._open(self._pubsub)
            return await self._message(self._pubsub)
        except BaseException as error:
            if isinstance(error, Exception):
                self._lost()
            await self.close()
            raise

    async def close(self) -> bool:
        """End the subscription. A later call of `next` opens it again. Returns False if it was not
        open.
        """
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is None:
            return False
        with contextlib.suppress(RedisError, OSError):
            await pubsub.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped
        return True

    async def _open(self, pubsub: PubSub) -> None:
        channel = self._channel()
        await answer_of(pubsub.subscribe(channel))
        if await answer_of(pubsub.get_message(timeout=WAIT_S)) is None:
            raise ServerAway("Redis", reason=f"it does not confirm the subscription to {channel}")
        self._asked = self._heard = time.monotonic()
        self._opened()

    async def _message(self, pubsub: PubSub) -> bytes | None:
        now = time.monotonic()
        if now - self._asked >= PING_S:
            self._asked = now
            await answer_of(pubsub.ping())
        message = await answer_of(pubsub.get_message(timeout=WAIT_S))
        if message is None:
            if time.monotonic() - self._heard >= SILENCE_S:
                raise ServerAway("Redis", reason=f"the subscription to {self._channel()} is silent")
            return None
        self._heard = time.monotonic()
        return self._data(message)

    def _data(self, message: dict[str, Any]) -> bytes | None:
        if message["type"] == "subscribe":
            # redis-py has reconnected and subscribed again by itself, so messages may have been
            # missed.
            raise ServerAway("Redis", reason=f"the subscription to {self._channel()} was interrupted")
        data = message["data"]
        return data if message["type"] == "message" and isinstance(data, bytes) else None
