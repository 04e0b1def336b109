"""An outside service that is spoken to over HTTP: paced, given a rest when it is down, its failures sorted.

What an answer below 500 means is each gateway's own to say.
"""

import asyncio
import functools
import logging
import ssl
import time
from datetime import UTC, datetime
from typing import Any

import httpx
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from services.worker.hotel.gateways import retry_after
from shared.errors import ExpectedError, NotBefore, PermanentError
from shared.transport.connection import pool

log = logging.getLogger(__name__)

#: A provider that failed so often in a row is left alone for so long; then one request tries it.
FAILURES, REST_S = 5, 30
#: A body waits this long for its turn; then it makes room for others and comes again.
LONGEST_WAIT_S = 10.0
#: Whatever the rate, how often the turn is asked for.
SHORTEST_WAIT_S = 0.02
TIMEOUT = httpx.Timeout(30.0, connect=5.0)


class ProviderAway(ExpectedError):
    """It did not answer, or said that it can't at the moment."""


class ProviderBusy(NotBefore):
    """It, or our own share of it, is free again at a known time."""


class ProviderOverloaded(ProviderBusy, ProviderAway):
    """It can't at the moment, and said when it can again; counts as a failure like any other."""


class ProviderRefused(PermanentError):
    """It will not do this, now or later; the message is its own."""


class Pace:
    """Counts requests to every provider over all workers, in Redis."""

    def __init__(self, redis_url: str) -> None:
        self._pool = pool(redis_url) if redis_url else None
        self._limiter = SlidingWindowCounterRateLimiter(_storage(self._pool))

    async def wait(self, provider: str, rate: str) -> None:
        """Wait for a turn; `rate` is like 2/second. Raises ProviderBusy when it would take too long."""
        limit = parse(rate)
        deadline = time.monotonic() + LONGEST_WAIT_S
        while True:
            try:
                if await self._limiter.hit(limit, provider):
                    return
                stats = await self._limiter.get_window_stats(limit, provider)
            except (RedisError, OSError) as error:
                # The provider's own limit still stands.
                log.warning("requests to %s are not counted: %s: %s", provider, type(error).__name__, error)
                return
            wait_s = max(stats.reset_time - time.time(), SHORTEST_WAIT_S)
            if time.monotonic() + wait_s > deadline:
                raise ProviderBusy(f"more than {rate} for {provider}", delay_s=wait_s)
            await asyncio.sleep(min(wait_s, 1.0))

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()


@functools.cache
def trusted() -> ssl.SSLContext:
    """The authorities whose certificates count. One for all clients: to read them takes 70 ms each time."""
    return httpx.create_ssl_context(trust_env=False)


def _storage(connections: ConnectionPool | None) -> Storage:
    if connections is None:
        return MemoryStorage()
    options: dict[str, Any] = {"connection_pool": connections}
    return RedisStorage("redis://", implementation="redispy", key_prefix="often:pace", **options)


class Provider:
    """One service: its connections, its pace and its circuit breaker."""

    def __init__(
        self,
        name: str,
        *,
        pace: Pace,
        rate: str,
        timeout: httpx.Timeout = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.name = name
        self._pace = pace
        self._rate = rate
        # The environment's proxies are for people; redirects would carry a key elsewhere.
        self._http = httpx.AsyncClient(
            timeout=timeout,
            verify=trusted(),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )
        ours = (Exception, lambda error: not isinstance(error, ProviderAway))
        self._circuits = AsyncCircuitBreakerFactory(FAILURES, REST_S, exclude=[ours])

    async def request(self, method: str, url: str, *, circuit: str = "", **options: Any) -> httpx.Response:
        """One request, options as httpx has them; any answer below 500 is returned.

        `circuit` names a part of the service that fails by itself, a host of many. Raises ProviderAway for
        everything that passes, ProviderOverloaded where it said for how long, ProviderBusy while the
        provider rests. None says the address, which may hold a key.
        """
        part = circuit or self.name
        await self._pace.wait(self.name, self._rate)
        try:
            async with await self._circuits.get_breaker(part):
                return await self._send(part, method, url, options)
        except OpenedState:
            raise ProviderBusy(f"{part} rests after {FAILURES} failures", delay_s=REST_S) from None

    async def close(self) -> None:
        await self._http.aclose()

    async def _send(self, part: str, method: str, url: str, options: dict[str, Any]) -> httpx.Response:
        try:
            response = await self._http.request(method, url, **options)
        except httpx.HTTPError as error:
            # Without the cause: its text may hold the address.
            raise ProviderAway(f"{part} did not answer: {type(error).__name__}") from None
        if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
            return response
        said = f"{part} answered {response.status_code}"
        delay_s = retry_after.wait_s(response, datetime.now(UTC))
        raise ProviderAway(said) if delay_s is None else ProviderOverloaded(said, delay_s=delay_s)
