"""Calls outside services (providers) over HTTP.

Calls stay within a rate limit and are suspended while a service is down. Failures are classified as
temporary or permanent here; each gateway interprets responses with a status below 500.
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

from services.worker.hotel.gateways import answer_body, measured, retry_after
from services.worker.hotel.gateways.circuits import FAILURES, REST_S, Circuits, Resting
from shared.errors import ExpectedError, NotBefore, PermanentError
from shared.telemetry import metrics, tracing
from shared.transport.connection import pool

log = logging.getLogger(__name__)

#: Maximum number of seconds that a task body waits for the rate limit. After that, the attempt
#: ends, which frees its thread, and the task is retried later.
MAX_WAIT_S = 10.0
#: Minimum number of seconds between two checks of the rate limit.
MIN_WAIT_S = 0.02
#: Maximum number of seconds for connecting, which takes one round trip, or three with TLS.
CONNECT_TIMEOUT_S = 5.0
#: Retry delay in seconds of a request for which no pooled connection became free in time.
CROWDED_DELAY_S = 5.0

#: A function that reads the body of a response until a deadline, which is a time of the event
#: loop's clock.
Read = Callable[[httpx.Response, float], Awaitable[bytes]]


class ProviderAway(ExpectedError):
    """Raised if the provider did not answer, or answered that it is temporarily unavailable."""


class ProviderBusy(NotBefore):
    """Raised if the provider, or our share of its capacity, is used up until a known time."""


class ProviderOverloaded(ProviderBusy, ProviderAway):
    """Raised if the provider is unavailable and said for how long. It also counts as a failure of
    the provider.
    """


class ProviderRefused(PermanentError):
    """Raised if the provider will never accept this request. The message has the provider's own
    reason.
    """


class Pace:
    """Limits the rate of requests to each provider, over all workers together. The counters are in
    Redis.
    """

    def __init__(self, redis_url: str) -> None:
        self._pool = pool(redis_url) if redis_url else None
        self._limiter = SlidingWindowCounterRateLimiter(_storage(self._pool))

    async def wait(self, provider: str, rate: str) -> None:
        """Wait until the rate limit allows a request. `rate` has a form such as 2/second.

        Raises ProviderBusy if the wait would be too long.
        """
        limit = parse(rate)
        deadline = time.monotonic() + MAX_WAIT_S
        while True:
            try:
                if await self._limiter.hit(limit, provider):
                    return
                stats = await self._limiter.get_window_stats(limit, provider)
            except (RedisError, OSError) as error:
                # If Redis does not answer, the request is sent without counting. The provider's own
                # rate limit still applies.
                log.warning(
                    "requests to %s are not counted, so the rate limit may be exceeded: %s: %s",
                    provider,
                    type(error).__name__,
                    error,
                )
                return
            wait_s = max(stats.reset_time - time.time(), MIN_WAIT_S)
            if time.monotonic() + wait_s > deadline:
                raise ProviderBusy(f"the limit of {rate} for {provider} is used up", delay_s=wait_s)
            await asyncio.sleep(min(wait_s, 1.0))

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.aclose()


@functools.cache
def trusted() -> ssl.SSLContext:
    """Return a TLS context with the trusted certificate authorities.

    All clients share it, because loading the certificates takes 70 ms.
    """
    return httpx.create_ssl_context(trust_env=False)


def _storage(connections: ConnectionPool | None) -> Storage:
    if connections is None:
        return MemoryStorage()
    options: dict[str, Any] = {"connection_pool": connections}
    return RedisStorage("redis://", implementation="redispy", key_prefix="often:pace", **options)


class Provider:
    """The connection to one provider, with its rate limit, circuit breakers and time limit."""

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
        """`deadline` is the time limit of a whole call, from connecting to the end of the body.

        `read` is the function that reads response bodies and limits their size.
        """
        self.name = name
        self._pace = pace
        self._rate = rate
        self._deadline_s = deadline.total_seconds()
        self._read = read
        # Proxy settings in the environment are ignored, because they are meant for people.
        # Redirects are not followed, because they could send a key to another host.
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(self._deadline_s, connect=min(CONNECT_TIMEOUT_S, self._deadline_s)),
            headers={"Accept-Encoding": answer_body.ACCEPTED},
            verify=trusted(),
            trust_env=False,
            follow_redirects=False,
            transport=transport,
        )
        self._circuits = Circuits(ProviderAway)
        metrics.expect_outside(name)
        metrics.OUTSIDE_RESTING.labels(name).set_function(lambda: self._circuits.resting)

    async def request(self, method: str, url: str, *, circuit: str = "", **options: Any) -> httpx.Response:
        """Send one request and return the response if its status is below 500.

        `options` are those of httpx. `circuit` names a part of the service that can fail
        independently, such as one of many hosts. Raises ProviderAway for every temporary failure,
        ProviderOverloaded if the provider said for how long it is unavailable, ProviderBusy while
        the circuit is open, and ProviderRefused for a request that cannot be sent. No error message
        contains the URL, which may contain a key.
        """
        part = circuit or self.name
        request = self._built(part, method, url, options)
        await self._pace.wait(self.name, self._rate)
        try:
            async with self._circuits.watched(part):
                with measured.request(self.name, _outcome):
                    return _judged(part, await self._traced(part, request))
        except Resting:
            metrics.OUTSIDE_REQUESTS.labels(self.name, "resting").inc()
            raise ProviderBusy(
                f"{part} failed {FAILURES} times in a row and gets no requests for {REST_S} s", delay_s=REST_S
            ) from None

    async def close(self) -> None:
        await self._http.aclose()

    def _built(self, part: str, method: str, url: str, options: dict[str, Any]) -> httpx.Request:
        try:
            return self._http.build_request(method, url, **options)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise _unsendable(part, error) from None

    async def _traced(self, part: str, request: httpx.Request) -> httpx.Response:
        with tracing.calling(self.name, request.method, request.url.host) as span:
            response = await self._send(part, request)
            if span is not None:
                span.set({"http.response.status_code": response.status_code})
                if response.is_error:
                    span.fail(str(response.status_code))
            return response

    async def _send(self, part: str, request: httpx.Request) -> httpx.Response:
        # The errors of httpx are not kept as causes, because their text may contain the URL.
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
    """Build the error for a request that is itself invalid.

    Nothing was sent, so this does not count as a failure of the provider.
    """
    return ProviderRefused(f"the request to {part} cannot be sent, correct its data: {type(error).__name__}")


def _outcome(error: Exception) -> str:
    """Return the metric label value for a request that failed."""
    if isinstance(error, ProviderRefused):
        return "unsendable"
    return "busy" if isinstance(error, ProviderBusy) and not isinstance(error, ProviderAway) else "away"


def _judged(part: str, response: httpx.Response) -> httpx.Response:
    """Return the response, or raise an error if its status means that the provider failed."""
    if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
        return response
    said = f"{part} answered {response.status_code}"
    delay_s = retry_after.wait_s(response, datetime.now(UTC))
    raise ProviderAway(said) if delay_s is None else ProviderOverloaded(said, delay_s=delay_s)
