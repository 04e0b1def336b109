"""Bulkheads: limits for the number of a worker's threads that tasks for one user or one host
occupy.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.worker.hotel.gateways.provider import ProviderBusy

#: Maximum number of seconds that a task body waits for a place. It blocks its thread meanwhile, so
#: the wait is no longer than a usual push takes.
WAIT_S = 0.5


class Places:
    """Limits how many task bodies work for the same name, such as a user or a host, at the same
    time.

    At most `number` of them hold a place for the name, and as many again may wait for one.
    """

    def __init__(self, number: int, delay_s: float) -> None:
        """`delay_s` is the retry delay of a task that gets no place."""
        self._number = number
        self._delay_s = delay_s
        self._taken: dict[str, asyncio.Semaphore] = {}
        self._inside: dict[str, int] = {}

    @asynccontextmanager
    async def taken(self, name: str) -> AsyncIterator[None]:
        """Hold a place for this name inside the context. Raises ProviderBusy if none becomes free
        in time.
        """
        inside = self._inside.get(name, 0)
        if inside >= 2 * self._number:
            raise self._full(name)
        self._inside[name] = inside + 1
        places = self._taken.setdefault(name, asyncio.Semaphore(self._number))
        try:
            await self._wait(name, places)
            try:
                yield
            finally:
                places.release()
        finally:
            self._leave(name)

    async def _wait(self, name: str, places: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(WAIT_S):
                await places.acquire()
        except TimeoutError:
            raise self._full(name) from None

    def _leave(self, name: str) -> None:
        self._inside[name] -= 1
        if not self._inside[name]:
            del self._inside[name], self._taken[name]

    def _full(self, name: str) -> ProviderBusy:
        rule = f"{self._number} pushes at a time to {name}"
        return ProviderBusy(f"this worker makes only {rule}", delay_s=self._delay_s)
