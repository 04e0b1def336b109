"""Gives access to the Redis server that counts requests for rate limits and quotas, so that all API
processes share the counts.

A request waits for Redis only briefly. While Redis is unavailable, nothing is counted and no
request is refused.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, Self, TypeVar

from redis.exceptions import RedisError

from shared.transport.connection import pool

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Maximum time in seconds that a request waits for Redis to check its rate limits and quotas.
TIMEOUT_S: Final = 0.2
#: Seconds for which no request uses Redis after a failure. Then a single request tries again, so an
#: unavailable Redis delays at most one request per second.
REST_S: Final = 1.0


class CountingRedis:
    """A Redis connection pool that is not used for a while after a failure."""

    def __init__(self, redis_url: str) -> None:
        self.pool = pool(redis_url, socket_timeout_s=TIMEOUT_S)
        self._rests_until = 0.0
        self._away = False

    def __deepcopy__(self, _: object) -> Self:
        """Return itself. Litestar copies guards and middleware for each router, but there must be
        only one connection pool.
        """
        return self

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Return the answer of Redis, or None while Redis is unavailable."""
        if time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(TIMEOUT_S):
                answer = await question()
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)
            return None
        self._back()
        return answer

    async def close(self) -> None:
        await self.pool.aclose()

    def _rest(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST_S
        if not self._away:
            reason = str(error) or f"no answer within {TIMEOUT_S} s"
            log.warning(
                "Redis is unavailable for rate limits and quotas; requests pass uncounted: %s", reason
            )
        self._away = True

    def _back(self) -> None:
        if self._away:
            log.info("Redis is available again; requests count toward rate limits and quotas again")
        self._away = False
