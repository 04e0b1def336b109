"""Caches one answer for a moment and shares it among all callers, so that a hundred open pages cost
as much as one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """A cached answer, which is read again once it is older than `max_age_s`. An error is not
    cached.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], max_age_s: float) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._lock = asyncio.Lock()
        self._kept: tuple[float, T] | None = None

    async def get(self) -> T:
        """Return the answer. Callers that arrive while it is being read wait for it. Raises the
        error that the read raises.
        """
        async with self._lock:
            if self._kept is None or time.monotonic() - self._kept[0] >= self._max_age_s:
                answer = await self._read()
                self._kept = time.monotonic(), answer
            return self._kept[1]
