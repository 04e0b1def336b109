"""Tells all API processes that an account may do more or less than before.

A process then forgets what it remembers of callers, and reads it again. The process that answers the act
forgets before it answers. The others get a message, or find out within `remembered.MAX_AGE_S`. Any client of
Redis may publish on the channel: a message names no account, and costs a few questions to Postgres.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import Any, Final

import redis.asyncio as redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from services.api.audit.actions import Action
from services.api.identity.counting import CountingRedis
from shared.errors import ServerAway
from shared.transport.queues import Queues

#: Acts after which requests are judged in another way. All of them are in the audit log, so none is missed.
CHANGES: Final = frozenset(
    {
        Action.ACCOUNT_ROLE_CHANGED,
        Action.ACCOUNT_ACTIVATED,
        Action.ACCOUNT_DEACTIVATED,
        Action.ACCOUNT_RENAMED,
        Action.ADDRESS_ASKED,
        Action.ADDRESS_CONFIRMED,
        Action.ERASURE_REQUESTED,
        Action.PASSWORD_CHANGED,
        Action.SIGNED_OUT,
        Action.SIGNED_OUT_EVERYWHERE,
        Action.TOKEN_REUSED,
        Action.KEY_REVOKED,
        Action.KEYS_REVOKED,
    }
)
#: How long a round of listening takes when nothing happens.
LISTEN_S: Final = 1.0


class Changes:
    """The announcements of one process, and its ear for those of others."""

    def __init__(self, counting: CountingRedis, queues: Queues, forget: Callable[[], None]) -> None:
        self._counting = counting
        self._publisher = redis.Redis(connection_pool=counting.pool)
        self._queues = queues
        self._forget = forget
        self._subscription: PubSub | None = None

    async def follow(self, acts: Collection[str]) -> None:
        """Called with the acts of a request once they are committed, and before it is answered."""
        if CHANGES.isdisjoint(acts):
            return
        self._forget()
        if (channel := self._channel()) is not None:
            await self._counting.ask(lambda: self._publisher.publish(channel, b""))

    async def listen(self) -> None:
        """Wait a moment for a message. A loop of the API repeats it. Raises ServerAway."""
        try:
            message = await self._next()
        except (RedisError, OSError) as error:
            await self.close()
            raise ServerAway("Redis", reason=str(error)) from error
        except BaseException:
            await self.close()
            raise
        if message is not None:  # also the word that the subscription has begun: what came before was missed
            self._forget()

    async def close(self) -> None:
        """End the subscription; the next round opens another one."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            with contextlib.suppress(RedisError, OSError):
                await subscription.aclose()  # type: ignore[no-untyped-call] # redis leaves it untyped

    async def _next(self) -> Any:
        if self._subscription is None:
            channel = self._channel()
            if channel is None:
                await asyncio.sleep(LISTEN_S)
                return None
            self._subscription = self._queues.client.pubsub()
            await self._subscription.subscribe(channel)
        return await self._subscription.get_message(timeout=LISTEN_S)

    def _channel(self) -> str | None:
        """It names the system, because all databases of a Redis share channels; None before that is known."""
        system = self._queues.system
        return None if system is None else f"often:callers:{system.hex}"
