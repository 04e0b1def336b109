"""Caches one answer for a moment and shares it among all callers, so that a hundred open pages cost
as much as one.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Fresh(Generic[T]):
    """A cached answer, which is read again once it is older than `max_age_s`.

    An error is not cached: the callers that wait for the read all get it, and the next caller reads
    again.
    """

    def __init__(self, read: Callable[[], Awaitable[T]], max_age_s: float) -> None:
        self._read = read
        self._max_age_s = max_age_s
        self._kept: tuple[float, T] | None = None
        self._reading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return the answer. Callers that arrive while it is being read wait for it. Raises the
        error that the read raises.
        """
        if self._kept is not None and time.monotonic() - self._kept[0] < self._max_age_s:
            return self._kept[1]
        if self._reading is None:
            self._reading = asyncio.create_task(self._refresh())
            self._reading.add_done_callback(self._end)
        # A caller that gives up does not end the read for the others.
        return await asyncio.shield(self._reading)

    async def _refresh(self) -> T:
        answer = await self._read()
        self._kept = time.monotonic(), answer
        return answer

    def _end(self, reading: asyncio.Task[T]) -> None:
        self._reading = None
        if not reading.cancelled():
            # Mark the error as seen. asyncio would report it if every caller has given up.
            reading.exception()
