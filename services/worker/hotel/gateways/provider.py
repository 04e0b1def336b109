"""An outside service that is spoken to over HTTP: paced, given a rest when it is down, its failures sorted.

What an answer below 500 means is each gateway's own to say.
"""

import asyncio
import functools
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from limits import parse
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError

from services.worker.hotel.gateways import answer_body, retry_after
from services.worker.hotel.gateways.circuits import FAILURES, REST_S, Circuits, Resting
from shared.errors import ExpectedError, NotBefore, PermanentError
from shared.transport.connection import pool

log = logging.getLogger(__name__)

#: A body waits this long for its turn; then it makes room for others and comes again.
LONGEST_WAIT_S = 10.0
#: Whatever the rate, how often the turn is asked for.
SHORTEST_WAIT_S = 0.02
#: A connection takes one round trip, or three with TLS.
CONNECT_TIMEOUT_S = 5.0
#: Delay of a request that found no free connection within its deadline.
CROWDED_DELAY_S = 5.0

#: Reads a body until a time of the event loop.
Read = Callable[[httpx.Response, float], Awaitable[bytes]]


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
    """One service: its connections, its pace, its circuit breakers, and the limits of one call."""

    def __init__(
        self,
        name: str,
        *,
        pace: Pace,
        rate: str,
        deadline: timedelta,
        read: Read = answer_body.whole,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`deadline` is for one call: connection, headers and body together. `read` bounds the body."""
        self.name = name
        self._pace = pace
        self._rate = rate
        self._deadline_s = deadline.total_seconds()
        self._read = read
        # The environment's proxies are for people; redirects would carry a key elsewhere.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(self._deadline_s, connect=min(CONNECT_TIMEOUT_S, self._deadline_s)),
            headers={"Accept-Encoding": answer_body.ACCEPTED},
            verify=trusted(),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )
        self._circuits = Circuits(ProviderAway)

    async def request(self, method: str, url: str, *, circuit: str = "", **options: Any) -> httpx.Response:
        """One request, options as httpx has them; any answer below 500 is returned.

        `circuit` names a part of the service that fails by itself, a host of many. Raises ProviderAway for
        everything that passes, ProviderOverloaded where it said for how long, ProviderBusy while the
        provider rests, and ProviderRefused for a request that cannot be sent. None says the address, which
        may hold a key.
        """
        part = circuit or self.name
        request = self._built(part, method, url, options)
        await self._pace.wait(self.name, self._rate)
        try:
            async with self._circuits.watched(part):
                return _judged(part, await self._send(part, request))
        except Resting:
            raise ProviderBusy(f"{part} rests after {FAILURES} failures", delay_s=REST_S) from None

    async def close(self) -> None:
        await self._http.aclose()

    def _built(self, part: str, method: str, url: str, options: dict[str, Any]) -> httpx.Request:
        try:
            return self._http.build_request(method, url, **options)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise _unsendable(part, error) from None

    async def _send(self, part: str, request: httpx.Request) -> httpx.Response:
        # Errors of httpx are raised without the cause: its text may hold the address.
        try:
            return await self._answer(request)
        except TimeoutError:
            raise ProviderAway(f"{part} did not answer within {self._deadline_s:g} s") from None
        except answer_body.BadBody as error:
            raise ProviderAway(f"{part} sent {error}") from None
        except (httpx.LocalProtocolError, httpx.UnsupportedProtocol) as error:
            raise _unsendable(part, error) from None
        except httpx.PoolTimeout:
            raise ProviderBusy(f"no connection is free for {part}", delay_s=CROWDED_DELAY_S) from None
        except httpx.HTTPError as error:
            raise ProviderAway(f"{part} did not answer: {type(error).__name__}") from None

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        deadline = asyncio.get_running_loop().time() + self._deadline_s
        async with asyncio.timeout_at(deadline):
            response = await self._http.send(request, stream=True)
        try:
            return answer_body.as_read(response, await self._read(response, deadline))
        finally:
            await response.aclose()


def _unsendable(part: str, error: Exception) -> ProviderRefused:
    """Our own mistake, or bad data of ours: nothing was sent, and the provider has no part in it."""
    return ProviderRefused(f"the request to {part} cannot be sent, correct its data: {type(error).__name__}")


def _judged(part: str, response: httpx.Response) -> httpx.Response:
    """The answer, unless it is a failure of the provider."""
    if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
        return response
    said = f"{part} answered {response.status_code}"
    delay_s = retry_after.wait_s(response, datetime.now(UTC))
    raise ProviderAway(said) if delay_s is None else ProviderOverloaded(said, delay_s=delay_s)
