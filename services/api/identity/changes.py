"""Tells all API processes that the rights of an account have changed.

Each process then drops the callers that it has cached and reads them again. The process that
handles the change does so before it answers. The others receive a message; if they miss it, their
caches expire within `remembered.MAX_AGE_S`. Any client of Redis may publish on the channel, because
a message names no account and costs only a few queries to Postgres.
"""

from collections.abc import Callable, Collection
from typing import Final

import redis.asyncio as redis

from services.api.audit.actions import Action
from services.api.identity.counting import CountingRedis
from shared.transport.queues import Queues
from shared.transport.subscription import Subscription

#: Actions after which an account may have other rights. The audit log records all of them, so its
#: actions show every such change.
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


class Changes:
    """Announces changes of rights made by this process, and listens for those of other processes."""

    def __init__(self, counting: CountingRedis, queues: Queues, forget: Callable[[], None]) -> None:
        self._counting = counting
        self._publisher = redis.Redis(connection_pool=counting.pool)
        self._queues = queues
        self._forget = forget
        # Messages that were sent before the subscription were missed, so all cached callers are
        # dropped when it begins.
        self._subscription = Subscription(queues, lambda: queues.callers_channel, opened=forget)

    async def follow(self, acts: Collection[str]) -> None:
        """Announce the changes of rights that a request made. Called with its audited actions,
        after they are committed and before the request is answered.
        """
        if CHANGES.isdisjoint(acts):
            return
        self._forget()
        if self._queues.system is not None:
            await self._counting.ask(lambda: self._publisher.publish(self._queues.callers_channel, b""))

    async def listen(self) -> None:
        """Wait a moment for a message from another process. A background loop of the API calls this
        repeatedly. Raises ServerUnavailable.
        """
        if await self._subscription.next() is not None:
            self._forget()
