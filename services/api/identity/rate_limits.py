"""Rate limits per user for signed-in callers, and per network for all other callers and for refused
requests.

Signing in has a separate limit, because each attempt costs a password hash. Requests are counted in
Redis, so that all API processes share the counts. A process admits up to a hundredth of a caller's
limit before it counts these requests in Redis, so that few requests wait for Redis. N processes
together may therefore admit N hundredths more than the limit. If Redis is unavailable, no request
is refused.
"""

import ipaddress
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, Self

import redis.asyncio as redis
from limits import parse
from limits.limits import RateLimitItem
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from services.api.grouping import Grouping
from services.api.http.refusals import TooManyRequests
from services.api.identity.counting import CountingRedis

#: A process admits the limit divided by this number before it asks Redis. A limit below this number
#: is therefore exact.
SHARE: Final = 100
#: Maximum number of callers whose requests are counted in this process first. Requests of further
#: callers are counted in Redis directly.
MAX_COUNTED: Final = 10_000
#: Maximum number of callers that this process remembers as refused. For further callers, Redis is
#: asked each time.
MOST_REFUSED: Final = 10_000
#: Minimum time in seconds for which a caller is refused before Redis is asked again.
MIN_WAIT_S: Final = 0.05
#: Maximum number of callers in one call of the Redis script. A script can return fewer than 8,000
#: values, and other clients of Redis wait for it.
CHUNK: Final = 500


@dataclass(slots=True)
class _Count:
    """The number of requests of one caller, as this process knows it."""

    caller: str
    limit: RateLimitItem
    #: Number of the caller's requests according to the last answer of Redis.
    known: int = 0
    #: Number of admitted requests that are not yet counted in Redis and have not been sent to it;
    #: `sent` is the number of those on their way.
    unsent: int = 0
    sent: int = 0
    #: Number of calls to Redis that are not answered yet. `largest` is the largest count among the
    #: answers since this number was last zero.
    asked: int = 0
    largest: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Admit a request without asking Redis, if the count in this process allows it. Returns
        True if the request was admitted.
        """
        ahead = self.unsent + self.sent
        if ahead >= self.limit.amount // SHARE or self.known + ahead >= self.limit.amount:
            return False
        self.unsent += 1
        return True

    def begin(self) -> int:
        """Mark the unsent requests as sent to Redis, and return their number."""
        amount, self.unsent = self.unsent, 0
        self.sent += amount
        self.largest = self.largest if self.asked else 0
        self.asked += 1
        return amount

    def settle(self, amount: int, counted: int | None) -> None:
        """Process the answer of Redis to a call that counted `amount` requests.

        None means that there was no answer, so the requests will be sent again. Answers may arrive
        out of order. Only the largest count is kept, so that requests of other processes stay
        counted.
        """
        self.sent -= amount
        self.asked -= 1
        if counted is None:
            self.unsent += amount
        else:
            self.known = self.largest = max(self.largest, counted)

    def is_needed(self, now: float) -> bool:
        """True if this count must be kept in memory. It can be dropped once the caller's time
        windows have ended in Redis too.
        """
        return bool(self.unsent or self.sent) or now - self.used_at < 2 * self.limit.get_expiry()


class RateLimits:
    """Counts requests for rate limits. Creating an instance opens no connection."""

    def __init__(self, counting: CountingRedis, user: str, address: str, sign_in: str) -> None:
        self._user, self._address, self._sign_in = parse(user), parse(address), parse(sign_in)
        self._counting = counting
        client = redis.Redis(connection_pool=counting.pool)
        self._script = client.register_script(files(__package__).joinpath("rate.lua").read_text())
        self._counts: dict[str, _Count] = {}
        self._asking = Grouping[_Count, float](lambda counts: self._ask(counts, asks=1))
        self._refused_until: dict[str, float] = {}

    async def count_user(self, user_id: int) -> None:
        """Count a request of a signed-in user. Raises TooManyRequests."""
        await self._count(self._user, f"user:{user_id}")

    async def count_address(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Count a request by the client's network. Raises TooManyRequests."""
        await self._count(self._address, f"address:{network_of(connection)}")

    async def by_address(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Litestar guard of public routes: it counts the request by the client's network. Raises
        TooManyRequests.
        """
        await self.count_address(connection)

    async def by_sign_in(self, connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        """Litestar guard of public routes that hash a password, with a stricter limit by the
        client's network. Raises TooManyRequests.
        """
        await self._count(self._sign_in, f"sign-in:{network_of(connection)}")

    def __deepcopy__(self, _: object) -> Self:
        """Return itself. Litestar copies guards and middleware for each router, but all copies must
        share one count.
        """
        return self

    async def settle(self) -> None:
        """Send the numbers of admitted requests to Redis. A background loop of the API calls this
        each second.
        """
        now = time.monotonic()
        for caller in [caller for caller, count in self._counts.items() if not count.is_needed(now)]:
            del self._counts[caller]
        unsent = [count for count in self._counts.values() if count.unsent]
        for start in range(0, len(unsent), CHUNK):
            await self._ask(unsent[start : start + CHUNK], asks=0)

    async def _count(self, limit: RateLimitItem, caller: str) -> None:
        count = self._of(limit, caller)
        if count.take():
            return
        now = time.monotonic()
        wait_s = self._refused_until.get(caller, now) - now
        if wait_s <= 0:
            wait_s = await self._asking.join(count)
            if wait_s > 0:
                self._remember(caller, wait_s)
        if wait_s > 0:
            raise TooManyRequests(str(limit), wait_s)

    def _of(self, limit: RateLimitItem, caller: str) -> _Count:
        count = self._counts.get(caller)
        if count is not None:
            count.used_at = time.monotonic()
            return count
        count = _Count(caller, limit)
        if limit.amount >= SHARE and len(self._counts) < MAX_COUNTED:
            self._counts[caller] = count
        else:
            # This process keeps no count for this caller, because the limit is small or there are
            # too many callers. A count that equals the limit makes it ask Redis for each request.
            count.known = limit.amount
        return count

    async def _ask(self, counts: Sequence[_Count], *, asks: int) -> list[float]:
        """Count the requests of several callers in Redis. Returns the seconds for which each caller
        has to wait before it may send `asks` more requests (1, or 0 to send the counts only).
        """
        keys: list[str] = []
        values: list[int] = []
        amounts = [count.begin() for count in counts]
        for count, amount in zip(counts, amounts, strict=True):
            keys += _windows(count)
            values += (amount, asks, count.limit.amount, 1000 * count.limit.get_expiry())
        answer: list[int] | None = None
        try:
            answer = await self._counting.ask(lambda: self._script(keys=keys, args=values))
        finally:
            known = [None] * len(counts) if answer is None else answer[::2]
            for count, amount, counted in zip(counts, amounts, known, strict=True):
                count.settle(amount, counted)
        if answer is None:  # Redis is unavailable, so no caller has to wait
            return [0.0] * len(counts)
        return [max(MIN_WAIT_S, wait_ms / 1000) if wait_ms else 0.0 for wait_ms in answer[1::2]]

    def _remember(self, caller: str, wait_s: float) -> None:
        if len(self._refused_until) >= MOST_REFUSED:
            self._refused_until.clear()
        self._refused_until[caller] = time.monotonic() + wait_s


def _windows(count: _Count) -> tuple[str, str]:
    """The Redis keys of a caller's previous and current time windows."""
    current = f"often:rate:{count.caller}/{count.limit.amount}/{count.limit.get_expiry()}"
    return f"{current}/before", current


def network_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """The network of the client that sent a request."""
    return network(connection.client.host if connection.client else "")


def caller_network(request: Request[Any, Any, Any]) -> str:
    """Return the client's network. Litestar injects the result into handlers that have an argument
    `network`.
    """
    return network_of(request)


def network(host: str) -> str:
    """Return the part of an IP address that counts as one caller: an IPv4 address, or the /64 of an
    IPv6 address, because one caller usually has a whole /64.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
