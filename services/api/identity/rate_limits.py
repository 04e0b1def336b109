"""Rate limits: per user for signed-in callers, per network for all others and for refused ones.

Signing in has a limit of its own, because each attempt costs a hash. Counted in Redis, so that all API
processes agree. Of each caller a process lets a hundredth of the limit through before it counts them there,
so that few requests wait for it: together, N processes let through at most N hundredths more than the limit.
Without Redis, no request is refused.
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

#: One process lets this part of a limit through without asking. A limit below 100 is exact.
SHARE: Final = 100
#: Callers whose requests are counted here first; those of more callers are counted in Redis at once.
MAX_COUNTED: Final = 10_000
#: Callers remembered as refused; more than these are asked for in Redis again.
MOST_REFUSED: Final = 10_000
#: A caller is refused for this long at least before Redis is asked again.
MIN_WAIT_S: Final = 0.05
#: Callers of one call: a script returns fewer than 8,000 values, and other clients wait for it.
CHUNK: Final = 500


@dataclass(slots=True)
class _Count:
    """What this process knows of one caller."""

    caller: str
    limit: RateLimitItem
    #: Requests that Redis counted, as it last said. They become fewer with time.
    known: int = 0
    #: Requests let through that Redis does not know of: not sent yet, and on the way.
    unsent: int = 0
    sent: int = 0
    #: Questions to Redis that are under way, and the largest answer since there were none.
    asked: int = 0
    largest: int = 0
    used_at: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """Let a request through without asking, if that keeps the error in its bounds."""
        ahead = self.unsent + self.sent
        if ahead >= self.limit.amount // SHARE or self.known + ahead >= self.limit.amount:
            return False
        self.unsent += 1
        return True

    def begin(self) -> int:
        """Note that the unsent count is on its way to Redis, and return that count."""
        amount, self.unsent = self.unsent, 0
        self.sent += amount
        self.largest = self.largest if self.asked else 0
        self.asked += 1
        return amount

    def settle(self, amount: int, counted: int | None) -> None:
        """Note what Redis answered to this amount; None: it did not, and the amount is sent again.

        Of answers that may have overtaken each other the largest counts: none hides what others took.
        """
        self.sent -= amount
        self.asked -= 1
        if counted is None:
            self.unsent += amount
        else:
            self.known = self.largest = max(self.largest, counted)

    def is_needed(self, now: float) -> bool:
        """False when Redis has forgotten the caller, too, whose windows are over."""
        return bool(self.unsent or self.sent) or now - self.used_at < 2 * self.limit.get_expiry()


class RateLimits:
    """Counts requests. Building it connects to nothing."""

    def __init__(self, counting: CountingRedis, user: str, address: str, sign_in: str) -> None:
        self._user, self._address, self._sign_in = parse(user), parse(address), parse(sign_in)
        self._counting = counting
        client = redis.Redis(connection_pool=counting.pool)
        self._script = client.register_script(files(__package__).joinpath("rate.lua").read_text())
        self._counts: dict[str, _Count] = {}
        self._asking = Grouping[_Count, float](lambda counts: self._ask(counts, asks=1))
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

    def __deepcopy__(self, _: object) -> Self:
        """Litestar copies guards and middleware when it takes in their router; the limits stay one."""
        return self

    async def settle(self) -> None:
        """Count in Redis what was let through. A loop of the API repeats it each second."""
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
            count.known = limit.amount  # it is not kept, so nothing may be counted here first
        return count

    async def _ask(self, counts: Sequence[_Count], *, asks: int) -> list[float]:
        """Count in Redis. Returns how long each caller has to wait if it `asks` for one more request."""
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
        if answer is None:  # Redis is away
            return [0.0] * len(counts)
        return [max(MIN_WAIT_S, wait_ms / 1000) if wait_ms else 0.0 for wait_ms in answer[1::2]]

    def _remember(self, caller: str, wait_s: float) -> None:
        if len(self._refused_until) >= MOST_REFUSED:
            self._refused_until.clear()
        self._refused_until[caller] = time.monotonic() + wait_s


def _windows(count: _Count) -> tuple[str, str]:
    """The keys of a caller's previous and current window."""
    current = f"often:rate:{count.caller}/{count.limit.amount}/{count.limit.get_expiry()}"
    return f"{current}/before", current


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
