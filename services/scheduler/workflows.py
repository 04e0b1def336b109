"""Applies workflow events that no worker has applied, and stores events for deadlines that have
passed.

An event says what happened to a workflow, for example that a task has ended. Applying it starts the
steps that were waiting for it.
"""

import logging
import time
from collections.abc import Sequence
from uuid import UUID

from services.scheduler.workflow_cursor import Cursor, Look
from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.transitions import workflow as transitions
from shared.workflows.advance import MAX_FLOWS
from shared.workflows.advancer import Advancer

log = logging.getLogger(__name__)

#: Interval of the scan in seconds. Normally, workers apply events. If a worker dies after it has
#: recorded an outcome and before it has applied the event, the workflow is delayed by at most this
#: interval.
EVERY_S = 0.25
DEADLINES_EVERY_S = 1.0
#: Maximum number of events that one statement reads, and of deadlines for which one statement
#: stores events.
BATCH = 2_000


class Sweep:
    """Background service of the leading scheduler that applies events that no worker has
    applied.
    """

    def __init__(self, database: Database, advancer: Advancer) -> None:
        self._database = database
        self._advancer = advancer
        self.cursor = Cursor()

    def restart(self) -> None:
        """Read all events from the first one again.

        This is necessary after a change of leader, or if another Postgres server may answer now.
        """
        self.cursor = Cursor()

    async def run_once(self) -> bool:
        """Apply the events of all workflows that have some.

        Returns True if there may be more. Raises ServerUnavailable.
        """
        try:
            return await self._advance_all(await self._pending())
        except ServerUnavailable:
            self.restart()
            raise

    async def _pending(self) -> list[UUID]:
        """Return the ids of the workflows that have events. The one with the oldest event comes
        first.
        """
        after = self.cursor.after(time.monotonic())
        (row,) = await self._database.run(transitions.PENDING, after=after, limit=BATCH)
        self.cursor.note(Look(row["first"], row["last"], row["oldest_xid"], row["next_xid"]))
        return list(row["workflows"])

    async def _advance_all(self, ids: Sequence[UUID]) -> bool:
        """Apply the events of these workflows. Returns True if at least one workflow advanced."""
        moved = False
        for first in range(0, len(ids), MAX_FLOWS):
            share = ids[first : first + MAX_FLOWS]
            left = await self._left_of(share)
            if left:
                await self._database.run(transitions.DROP_EVENTS, id=sorted(left))
            moved = moved or len(left) < len(share)
        await self._advancer.mark()
        return moved

    async def _left_of(self, share: Sequence[UUID]) -> list[UUID]:
        """Apply the events of some workflows and return those that did not advance.

        If a group fails, each workflow is tried on its own, so that one that fails does not block
        the others.
        """
        try:
            return (await self._advancer.advance(share)).left
        except ServerUnavailable:
            raise
        except Exception:
            if len(share) == 1:
                text = "a workflow failed to advance; its events are kept and tried again"
                log.exception(text, extra={"workflow_id": str(share[0])})
                return list(share)
        return [workflow for one in share for workflow in await self._left_of([one])]

    async def note_deadlines(self) -> bool:
        """Store an event for each workflow whose deadline has passed. Returns True if there may be
        more.
        """
        (row,) = await self._database.run(transitions.NOTE_DEADLINES, limit=BATCH)
        return bool(row["passed"] == BATCH)
