"""Rate limits: per user for signed-in callers, per network for all others and for refused ones.

Signing in has a limit of its own, because each attempt costs a hash. Counted in Redis, so that all API
processes agree. Without Redis nobody is refused.
"""

import ipaddress
import time
from typing import Any, Final

from limits import parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.limits import RateLimitItem
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.api.http.refusals import TooManyRequests
from services.api.identity.counting import CountingRedis

#: Callers remembered as refused; more than these are asked for in Redis again.
MOST_REFUSED: Final = 10_000


class RateLimits:
    """Counts requests: one round trip to Redis each, and none for who is refused anyway."""

    def __init__(self, redis: CountingRedis, user: str, address: str, sign_in: str) -> None:
        self._user, self._address, self._sign_in = parse(user), parse(address), parse(sign_in)
        self._redis = redis
        # Without an address: the library's own reading of addresses wants a port, the pool's does not.
        options: dict[str, Any] = {"connection_pool": redis.pool}
        storage = RedisStorage("redis://", implementation="redispy", key_prefix="often:rate", **options)
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._refused_until: dict[str, float] = {}

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

    async def _count(self, limit: RateLimitItem, caller: str) -> None:
        now = time.monotonic()
        wait_s = self._refused_until.get(caller, now) - now
        if wait_s <= 0:
            wait_s = await self._asked(limit, caller)
        if wait_s > 0:
            raise TooManyRequests(str(limit), wait_s)

    async def _asked(self, limit: RateLimitItem, caller: str) -> float:
        """Count in Redis; how many seconds the caller has to wait, 0 when the request may go on."""
        wait_s = await self._redis.ask(lambda: self._counted(limit, caller)) or 0.0
        if wait_s:
            self._remember(caller, wait_s)
        return wait_s

    async def _counted(self, limit: RateLimitItem, caller: str) -> float:
        if await self._limiter.hit(limit, caller):
            return 0.0
        window = await self._limiter.get_window_stats(limit, caller)
        return max(window.reset_time - time.time(), 0.05)

    def _remember(self, caller: str, wait_s: float) -> None:
        if len(self._refused_until) >= MOST_REFUSED:
            self._refused_until.clear()
        self._refused_until[caller] = time.monotonic() + wait_s


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
