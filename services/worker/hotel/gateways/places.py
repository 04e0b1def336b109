"""Bulkheads: one user, or one host, cannot take all threads of a worker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.worker.hotel.gateways.provider import ProviderBusy

#: A body holds a thread while it waits, so it waits only as long as a usual push takes.
WAIT_S = 0.5


class Places:
    """At most `number` bodies have a place under one name; as many again may wait for one."""

    def __init__(self, number: int, delay_s: float) -> None:
        """`delay_s` is when a body that got no place tries again."""
        self._number = number
        self._delay_s = delay_s
        self._taken: dict[str, asyncio.Semaphore] = {}
        self._inside: dict[str, int] = {}

    @asynccontextmanager
    async def taken(self, name: str) -> AsyncIterator[None]:
        """Have a place inside. Raises ProviderBusy when there is none."""
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
