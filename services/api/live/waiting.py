"""Requests that wait for the end of a task."""

import asyncio
import contextlib
from uuid import UUID

from services.api.http.connections import MAX_WAITING
from services.api.live.bus import Bus
from services.api.live.message import Told
from services.api.live.states import States
from shared.ledger.lifecycle import FINAL

#: Longest wait of one request, in seconds.
MAX_WAIT_S = 60


class _Waiter:
    """Watches one task until it has ended."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def offer(self, told: Told) -> None:
        if told.change.status in FINAL:
            self.done.set()

    def note_lines(self) -> None:
        """Lines do not matter."""

    def forget(self) -> None:
        self.done.set()

    def stop(self) -> None:
        self.done.set()


class Waiting:
    """Used by one event loop."""

    def __init__(self, bus: Bus, states: States) -> None:
        self._bus = bus
        self._states = states
        self._open = 0

    async def until_ended(self, task_id: UUID, limit_s: float) -> None:
        """Return when the task has ended, or after `limit_s`. Raises ServerUnavailable."""
        if self._open >= MAX_WAITING or self._bus.has_ended:
            return
        self._open += 1
        waiter = _Waiter()
        try:
            with self._bus.watch(task_id, waiter), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    now = await self._states.of(task_id)
                    if now is not None and now.status not in FINAL:
                        await waiter.done.wait()
        finally:
            self._open -= 1
