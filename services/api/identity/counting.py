"""The Redis in which limits and quotas are counted, so that all API processes agree.

A request waits for it only briefly. While it is away nothing is counted and nobody is refused.
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

#: No request waits longer than this for Redis on account of its limits.
TIMEOUT_S: Final = 0.2
#: After a failure Redis is left alone this long, so that one request a second waits and the others don't.
REST_S: Final = 1.0


class CountingRedis:
    """A pool of connections, and how long to leave Redis alone after a failure."""

    def __init__(self, redis_url: str) -> None:
        self.pool = pool(redis_url, socket_timeout_s=TIMEOUT_S)
        self._rests_until = 0.0
        self._away = False

    def __deepcopy__(self, _: object) -> Self:
        """Litestar copies guards and middleware when it takes in their router; the pool stays one."""
        return self

    async def ask(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """The answer; None while Redis is away."""
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
            log.warning("Redis does not count requests, which pass uncounted: %s", reason)
        self._away = True

    def _back(self) -> None:
        if self._away:
            log.info("Redis is back: requests are counted")
        self._away = False
