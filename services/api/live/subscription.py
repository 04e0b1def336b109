"""The one subscription of this process. It lives while streams are open, and for a minute after the last."""

import asyncio
import contextlib
import logging
import time
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.api.live.bus import Bus
from shared.errors import ServerAway
from shared.transport import events
from shared.transport.answers import answer_of
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

#: How long one round waits: for a message, or for the first stream.
ROUND_S = 1.0
#: Redis is asked for a sign of life this often. Without any for the second time, the subscription is lost.
PING_S, SILENCE_S = 3.0, 6.0


class Subscription:
    """Passes messages on to the bus. Run by a keeper."""

    def __init__(self, queues: Queues, client: Redis, bus: Bus) -> None:
        """`client` is for the subscription alone."""
        self._queues = queues
        self._client = client
        self._bus = bus
        self._pubsub: PubSub | None = None
        self._asked = self._heard = 0.0

    async def run_once(self) -> None:
        """Wait a moment for a message. Raises ServerUnavailable when the subscription is lost."""
        if not self._bus.is_used:
            await self._rest()
            return
        if self._queues.system is None:
            await asyncio.sleep(ROUND_S / 10)
            return
        try:
            await (self._open() if self._pubsub is None else self._listen(self._pubsub))
        except BaseException:
            self._bus.lose()
            await self.close()
            raise

    async def close(self) -> None:
        pubsub, self._pubsub = self._pubsub, None
        if pubsub is not None:
            with contextlib.suppress(RedisError, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped

    async def _rest(self) -> None:
        if self._pubsub is not None:
            await self.close()
            self._bus.lose(degraded=False)
        with contextlib.suppress(TimeoutError):
            await self._bus.wait_for_use(ROUND_S)

    async def _open(self) -> None:
        self._pubsub = self._client.pubsub()
        await answer_of(self._pubsub.subscribe(events.channel(self._queues)))
        if await answer_of(self._pubsub.get_message(timeout=ROUND_S)) is None:
            raise ServerAway("Redis", reason="it does not confirm the subscription")
        self._asked = self._heard = time.monotonic()
        self._bus.hear()

    async def _listen(self, pubsub: PubSub) -> None:
        now = time.monotonic()
        if now - self._asked >= PING_S:
            self._asked = now
            await answer_of(pubsub.ping())
        message = await answer_of(pubsub.get_message(timeout=ROUND_S))
        if message is not None:
            self._heard = time.monotonic()
            self._pass_on(message)
        elif time.monotonic() - self._heard >= SILENCE_S:
            raise ServerAway("Redis", reason="the subscription is silent")

    def _pass_on(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            # redis-py has connected again by itself.
            raise ServerAway("Redis", reason="the subscription was interrupted")
        if message["type"] == "message":
            self._bus.take_message(message["data"])
