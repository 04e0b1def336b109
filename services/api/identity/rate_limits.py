"""Rate limits: per user for signed-in callers, per network for all others and for refused ones.

Signing in has a limit of its own, because each attempt costs a hash. Counted in Redis, so that all API
processes agree. Without Redis nobody is refused.
"""

import asyncio
import ipaddress
import logging
import time
from typing import Any, Final

from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.limits import RateLimitItem
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from redis.exceptions import RedisError

from services.api.http.refusals import TooManyRequests
from shared.transport.connection import pool

log = logging.getLogger(__name__)

#: No request waits longer than this for Redis on account of its limit.
TIMEOUT_S: Final = 0.2
#: After a failure Redis is left alone this long, so that one request a second waits and the others don't.
REST_S: Final = 1.0
#: Callers remembered as refused; more than these are asked for in Redis again.
MOST_REFUSED: Final = 10_000


class RateLimits:
    """Counts requests: one round trip to Redis each, and none for who is refused anyway."""

    def __init__(self, redis_url: str, user: str, address: str, sign_in: str) -> None:
        self._user, self._address, self._sign_in = parse(user), parse(address), parse(sign_in)
        self._pool = pool(redis_url, socket_timeout_s=TIMEOUT_S)
        # Without an address: the library's own reading of addresses wants a port, the pool's does not.
        options: dict[str, Any] = {"connection_pool": self._pool}
        storage = RedisStorage("redis://", implementation="redispy", key_prefix="often:rate", **options)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._refused_until: dict[str, float] = {}
        self._rests_until = 0.0
        self._away = False

    async def count_user(self, user_id: int) -> None:
        """Raises TooManyRequests."""
        await self._count(self._user, f"user:{user_id}")

    async def count_address(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Raises TooManyRequests."""
        await self._count(self._address, f"address:{network_of(connection)}")

    async def by_address(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """The guard of public routes."""
        await self.count_address(connection)

    async def by_sign_in(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """The guard of the public routes that hash a password. Raises TooManyRequests."""
        await self._count(self._sign_in, f"sign-in:{network_of(connection)}")

    def __deepcopy__(self, _: object) -> "RateLimits":
        """Litestar copies guards and middleware when it takes in their router; the limits stay one."""
        return self

    async def close(self) -> None:
        await self._pool.aclose()

    async def _count(self, limit: RateLimitItem, caller: str) -> None:
        now = time.monotonic()
        wait_s = self._refused_until.get(caller, now) - now
        if wait_s <= 0:
            wait_s = await self._asked(limit, caller)
        if wait_s > 0:
            raise TooManyRequests(str(limit), wait_s)

    async def _asked(self, limit: RateLimitItem, caller: str) -> float:
        """Count in Redis; how many seconds the caller is to wait, 0 when he may go on."""
        if time.monotonic() < self._rests_until:
            return 0
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if await self._limiter.hit(limit, caller):
                    wait_s = 0.0
                else:
                    window = await self._limiter.get_window_stats(limit, caller)
                    wait_s = max(window.reset_time - time.time(), 0.05)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)
            return 0
        self._back()
        if wait_s:
            self._remember(caller, wait_s)
        return wait_s

    def _remember(self, caller: str, wait_s: float) -> None:
        if len(self._refused_until) >= MOST_REFUSED:
            self._refused_until.clear()
        self._refused_until[caller] = time.monotonic() + wait_s

    def _rest(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_S
        if not self._away:
            reason = str(error) or f"no answer within {TIMEOUT_S} s"
            log.warning("Redis does not count requests, which pass uncounted: %s", reason)
        self._away = True

    def _back(self) -> None:
        if self._away:
            log.info("Redis is back: requests are counted")
        self._away = False


def network_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The network of a request's client."""
    return network(connection.client.host if connection.client else "")


def caller_network(request: Request[Any, Any, Any]) -> str:
    """The same, for handlers that ask for `network`."""
    return network_of(request)


def network(host: str) -> str:
    """What counts as one address: of IPv6 the /64, for that is what one caller has."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
