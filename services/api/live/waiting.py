"""Lets API requests wait for the end of a task."""

import asyncio
import contextlib
from uuid import UUID

from services.api.http.connections import MAX_WAITING
from services.api.live.bus import Bus
from services.api.live.message import Told
from services.api.live.states import States
from shared.ledger.lifecycle import FINAL
from shared.telemetry import metrics

#: Maximum time in seconds for which one request may wait.
MAX_WAIT_S = 60


class _Waiter:
    """Watches one task on behalf of a request, until the task ends."""

    def __init__(self) -> None:
        self.done = asyncio.Event()

    def offer(self, told: Told) -> None:
        if told.change.status in FINAL:
            self.done.set()

    def note_lines(self) -> None:
        """Do nothing, because a request that waits for the end of a task does not need log lines."""

    def forget(self) -> None:
        self.done.set()

    def stop(self) -> None:
        self.done.set()


class Waiting:
    """Lets the requests of one process wait for tasks. Use it only from one event loop."""

    def __init__(self, bus: Bus, states: States) -> None:
        self._bus = bus
        self._states = states
        self._open = 0

    async def until_ended(self, task_id: UUID, limit_s: float) -> None:
        """Wait until the task has ended or `limit_s` seconds have passed. Raises ServerUnavailable."""
        if self._open >= MAX_WAITING or self._bus.has_ended:
            return
        self._open += 1
        metrics.RESULTS_AWAITED.inc()
        waiter = _Waiter()
        try:
            with self._bus.watch(task_id, waiter), contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limit_s):
                    now = await self._states.of(task_id)
                    if now is not None and now.status not in FINAL:
                        await waiter.done.wait()
        finally:
            self._open -= 1
            metrics.RESULTS_AWAITED.dec()
