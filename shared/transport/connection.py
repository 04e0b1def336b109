"""Connects to Redis: every client of this project is built here.

A connection that turned out closed while it was idle is opened again before anything is sent. A server that
has become a replica is left: the next connection looks the address up again. Nothing is sent twice.
"""

import weakref
from typing import Any, ClassVar, Protocol

import redis.asyncio as redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.connection import HiredisRespSerializer
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig

from shared.transport import address

#: Redis' own answer comes in a millisecond; past this it counts as away.
SOCKET_TIMEOUT_S = 2.0
#: A connection that was idle for longer is asked whether it still works: a firewall may have dropped it.
HEALTH_CHECK_S = 30


def connect(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> "redis.Redis":
    """A client over a pool of its own. Raises `shared.url.BrokenRule`."""
    return redis.Redis.from_pool(pool(redis_url, socket_timeout_s=socket_timeout_s))


def pool(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> ConnectionPool:
    """A pool without retries: a script that took ids must not run again because its answer was lost.

    Connects to nothing yet. Raises `shared.url.BrokenRule`.
    """
    target = address.parse(redis_url)
    common: dict[str, Any] = {
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        # While these are on, redis-py does not look whether an idle connection was closed.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    options = {**common, **target.options, "health_check_interval": HEALTH_CHECK_S}
    kind: type[Connection]
    if target.service is None:
        kind = SSLConnection if target.tls else Connection
        (host, port) = target.hosts[0]
        made = ConnectionPool(connection_class=kind, host=host, port=port, **options)
    else:
        kind = SentinelManagedSSLConnection if target.tls else SentinelManagedConnection
        sentinel_options = {**common, **target.sentinel_options, "ssl": target.tls}
        sentinels = Sentinel(target.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        made = _PoolOfSentinels(target.service, sentinels, connection_class=kind, **options)  # type: ignore[no-untyped-call]
    made.connection_class = type("Connection", (_Connection, kind), {"pool": weakref.proxy(made)})
    return made


class _PoolOfSentinels(SentinelConnectionPool):
    """Connections to the primary that the Sentinels name; owns its connections to them."""

    async def aclose(self) -> None:
        await super().aclose()
        await self.sentinel_manager.aclose()


class _Reads(Protocol):
    async def read_response(self, *arguments: Any, **options: Any) -> Any: ...


class _Connection:
    """What is added to redis-py's connections."""

    pool: ClassVar[ConnectionPool]

    def pack_command(self, *arguments: Any) -> Any:
        """By hiredis, as redis-py's blocking client does it: a fetch names 86 keys."""
        return HiredisRespSerializer().pack(*arguments)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """After a failover the old primary keeps its connections and refuses to write: leave it."""
        inherited: _Reads = super()  # type: ignore[assignment] # it is mixed into a connection
        try:
            return await inherited.read_response(*arguments, **options)
        except (ReadOnlyError, MasterDownError):
            # This one still has answers to read; it is closed when it returns to the pool.
            await self.pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call] # redis
            await self.pool.disconnect(inuse_connections=False)
            raise
