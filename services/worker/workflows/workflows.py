"""Advances workflows right after this worker has recorded an end of one of their tasks.

The recorder never waits for it. What this process leaves, because it dies or another one holds a workflow,
the leader's sweep advances within a quarter of a second.
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable
from uuid import UUID

from shared.workflows.advance import MAX_FLOWS
from shared.workflows.advancer import Advancer

#: Pause after an advance that began nothing: the members of a group end many at a time.
REST_S = 0.005
#: Pause before a workflow that another process holds is tried again, and how often it is.
BUSY_S = 0.01
MAX_TRIES = 20
#: A round without any end; the loop shows that it turns.
IDLE_S = 5.0


class Workflows:
    """Runs on the ledger loop."""

    def __init__(self, advancer: Advancer) -> None:
        self._advancer = advancer
        self._waiting: set[UUID] = set()
        self._tries: Counter[UUID] = Counter()
        self._poked = asyncio.Event()

    def poke(self, workflows: Collection[UUID]) -> None:
        """Advance these as soon as possible; called after the commit."""
        if workflows:
            self._waiting.update(workflows)
            self._poked.set()

    async def run_once(self) -> None:
        """Wait for ends and advance their workflows."""
        try:
            async with asyncio.timeout(IDLE_S):
                await self._poked.wait()
        except TimeoutError:
            return
        self._poked.clear()
        share = sorted(self._waiting)[:MAX_FLOWS]
        self._waiting.difference_update(share)
        advanced = await self._advancer.advance(share)
        self._waiting.update(advanced.more)
        pause_s = 0.0 if advanced.tasks or self._waiting else REST_S
        if self._try_again(share, advanced.left) and not advanced.tasks:
            pause_s = BUSY_S
        if self._waiting:
            self._poked.set()
        await asyncio.sleep(pause_s)

    async def mark(self) -> None:
        """Mark the tasks that were pushed a moment ago."""
        await self._advancer.mark()

    def _try_again(self, share: Iterable[UUID], left: Collection[UUID]) -> bool:
        """Put back what another process holds, unless that has lasted."""
        for workflow in set(share).difference(left):
            self._tries.pop(workflow, None)
        self._tries.update(left)
        for workflow in left:
            if self._tries[workflow] < MAX_TRIES:
                self._waiting.add(workflow)
            else:
                del self._tries[workflow]
        return bool(left)
