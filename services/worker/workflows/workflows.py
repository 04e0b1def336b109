"""Starts the next steps of a workflow as soon as this worker has recorded the end of a task.

This is called advancing the workflow. The recorder never waits for it. If this process dies, or if
another process has locked the workflow, the leading scheduler advances it within a quarter of a
second.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Iterable
from uuid import UUID

from services.worker.workflows.rests import Rests
from shared.workflows.advance import MAX_FLOWS
from shared.workflows.advancer import Advancer

#: Pause in seconds after an advance that started no task. The members of a group often end at the
#: same time, so the next advance can apply several ends at once.
REST_S = 0.005
#: Pause in seconds before a workflow that another process has locked is tried again, and the
#: maximum number of tries.
BUSY_S = 0.01
MAX_TRIES = 20
#: Maximum time for which one round of the loop waits for the end of a task. It then returns without
#: work, which shows health checks that the loop is alive.
IDLE_S = 5.0


class Workflows:
    """Advances workflows on the ledger loop (the worker's event loop for Postgres and Redis)."""

    def __init__(self, advancer: Advancer) -> None:
        self._advancer = advancer
        self._waiting: set[UUID] = set()
        #: Workflows whose next advance is delayed for a moment, because no step can begin yet.
        self._resting: set[UUID] = set()
        self._rests = Rests()
        self._tries: Counter[UUID] = Counter()
        self._poked = asyncio.Event()

    def poke(self, workflows: Collection[UUID]) -> None:
        """Request that these workflows be advanced.

        Called after the ends of their tasks were committed.
        """
        self._waiting.update(workflows)
        self._wake()

    def _wake(self) -> None:
        if self._waiting - self._resting:
            self._poked.set()

    async def run_once(self) -> None:
        """Wait until tasks have ended, and advance their workflows."""
        try:
            async with asyncio.timeout(IDLE_S):
                await self._poked.wait()
        except TimeoutError:
            return
        self._poked.clear()
        share = sorted(self._waiting - self._resting)[:MAX_FLOWS]
        self._waiting.difference_update(share)
        advanced = await self._advancer.advance(share)
        self._waiting.update(advanced.more)
        self._rests.forget(set(advanced.moved).difference(advanced.open))
        for workflow, members in advanced.open.items():
            self._rest(workflow, self._rests.after(workflow, members, time.monotonic()))
        pause_s = 0.0 if advanced.tasks or self._waiting - self._resting else REST_S
        if self._try_again(share, advanced.left) and not advanced.tasks:
            pause_s = BUSY_S
        self._wake()
        await asyncio.sleep(pause_s)

    def _rest(self, workflow: UUID, seconds: float) -> None:
        self._resting.add(workflow)
        asyncio.get_running_loop().call_later(seconds, self._rested, workflow)

    def _rested(self, workflow: UUID) -> None:
        self._resting.discard(workflow)
        self._wake()

    async def mark(self) -> None:
        """Mark in Postgres that the tasks of started steps were pushed to Redis."""
        await self._advancer.mark()

    def _try_again(self, share: Iterable[UUID], left: Collection[UUID]) -> bool:
        """Queue workflows that another process has locked for another try, up to MAX_TRIES times.

        Returns True if there are any.
        """
        for workflow in set(share).difference(left):
            self._tries.pop(workflow, None)
        self._tries.update(left)
        for workflow in left:
            if self._tries[workflow] < MAX_TRIES:
                self._waiting.add(workflow)
            else:
                del self._tries[workflow]
        return bool(left)
