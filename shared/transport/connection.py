"""Connects to Redis. Every Redis client of this project is created here.

A connection that was closed while idle is opened again before the next command. If a server has
become a replica, the connections to it are dropped, and new connections look up the address again.
No command is ever sent twice. Once closed, a client refuses to reconnect, so that a background job
which outlives its service cannot open a connection.
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
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MasterDownError, ReadOnlyError
from redis.maint_notifications import MaintNotificationsConfig

from shared.transport import address

#: Time limit of a Redis command in seconds, after which Redis counts as unavailable. Redis usually
#: answers within a millisecond.
SOCKET_TIMEOUT_S = 2.0
#: A connection that was idle for longer than this (in seconds) is checked with a PING before use,
#: because a firewall may have dropped it.
HEALTH_CHECK_S = 30


def connect(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> "redis.Redis":
    """Create a Redis client with its own connection pool. Raises `shared.url.BrokenRule`."""
    return redis.Redis.from_pool(pool(redis_url, socket_timeout_s=socket_timeout_s))


def pool(redis_url: str, *, socket_timeout_s: float = SOCKET_TIMEOUT_S) -> "_Pool | _PoolOfSentinels":
    """Create a connection pool that does not retry commands, because a script that took ids must
    not run a second time if its answer was lost.

    Opens no connection yet. Raises `shared.url.BrokenRule`.
    """
    target = address.parse(redis_url)
    common: dict[str, Any] = {
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "retry": Retry(NoBackoff(), 0),
        # Maintenance notifications are disabled, because redis-py would otherwise not check whether
        # an idle connection was closed.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
    }
    options = {**common, **target.options, "health_check_interval": HEALTH_CHECK_S}
    kind: type[Connection]
    made: _Pool | _PoolOfSentinels
    if target.service is None:
        kind = SSLConnection if target.tls else Connection
        (host, port) = target.hosts[0]
        made = _Pool(connection_class=kind, host=host, port=port, **options)
    else:
        kind = SentinelManagedSSLConnection if target.tls else SentinelManagedConnection
        sentinel_options = {**common, **target.sentinel_options, "ssl": target.tls}
        sentinels = Sentinel(target.hosts, sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
        made = _PoolOfSentinels(target.service, sentinels, connection_class=kind, **options)  # type: ignore[no-untyped-call]
    made.connection_class = type("Connection", (_Connection, kind), {"pool": weakref.proxy(made)})
    return made


class _Pool(ConnectionPool):
    """A pool of connections to one Redis server."""

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()


class _PoolOfSentinels(SentinelConnectionPool):
    """A pool of connections to the primary that the Sentinels name. It also owns the connections to
    the Sentinels.
    """

    is_closed = False

    async def aclose(self) -> None:
        self.is_closed = True
        await super().aclose()
        await self.sentinel_manager.aclose()


class _Inherited(Protocol):
    async def connect_check_health(self, *arguments: Any, **options: Any) -> None: ...
    async def disconnect(self, *arguments: Any, **options: Any) -> None: ...
    async def read_response(self, *arguments: Any, **options: Any) -> Any: ...


class _Connection:
    """A mixin that changes some methods of redis-py's connection classes."""

    pool: ClassVar["_Pool | _PoolOfSentinels"]

    async def connect_check_health(self, *arguments: Any, **options: Any) -> None:
        """Connect, unless the pool is closed, because nothing would ever close a connection that is
        opened then.
        """
        inherited: _Inherited = super()  # type: ignore[assignment] # it is mixed into a connection
        if not self.pool.is_closed:
            await inherited.connect_check_health(*arguments, **options)
        if self.pool.is_closed:
            await inherited.disconnect(nowait=True)
            raise RedisConnectionError("this client is closed")

    def pack_command(self, *arguments: Any) -> Any:
        """Encode a command with hiredis, as redis-py's blocking client does, because it is faster.
        A fetch has 86 keys.
        """
        return HiredisRespSerializer().pack(*arguments)

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Read an answer. If the server is no longer the primary after a failover, drop the
        connections to it. That server stays reachable but refuses writes.
        """
        inherited: _Inherited = super()  # type: ignore[assignment] # it is mixed into a connection
        try:
            return await inherited.read_response(*arguments, **options)
        except (ReadOnlyError, MasterDownError):
            # This connection still has answers to read, so it is only marked, and closed when it
            # returns to the pool.
            await self.pool.update_active_connections_for_reconnect()  # type: ignore[no-untyped-call] # redis
            await self.pool.disconnect(inuse_connections=False)
            raise
