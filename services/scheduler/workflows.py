"""Applies workflow events that no worker has applied, and stores events for deadlines that have
passed.

An event says what happened to a workflow, for example that a task has ended. Applying it starts the
steps that were waiting for it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from services.scheduler.slow_items import SlowItems, was_canceled
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
        self._slow = SlowItems[UUID]("workflow_id")
        #: True if this round has canceled tasks of a workflow. They are canceled in batches, so there
        #: may be more of them.
        self._has_more = False
        self.cursor = Cursor()

    def restart(self) -> None:
        """Read all events from the first one again.

        This is necessary after a change of leader, or if another Postgres server may answer now.
        """
        self.cursor = Cursor()

    async def run_once(self) -> bool:
        """Apply the events of all workflows that have some.

        Returns True if more events must be applied immediately. New events of workflows that are
        running are left to the workers, until the next round. Otherwise, this service would advance
        a workflow again and again while the members of a group end. Raises ServerUnavailable.
        """
        try:
            pending = await self._pending()
            moved = await self._advance_all(list(pending["workflows"]))
        except ServerUnavailable:
            self.restart()
            raise
        return self._has_more or (moved and pending["events"] == BATCH)

    async def _pending(self) -> Mapping[str, Any]:
        """Return the ids of the workflows that have events, and the number of events. The workflow
        with the oldest event comes first.
        """
        after = self.cursor.after(time.monotonic())
        (row,) = await self._database.run(transitions.PENDING, after=after, limit=BATCH)
        self.cursor.note(Look(row["first"], row["last"], row["oldest_xid"], row["next_xid"]))
        return row

    async def _advance_all(self, ids: Sequence[UUID]) -> bool:
        """Apply the events of these workflows. Returns True if at least one workflow advanced."""
        moved, self._has_more = False, False
        others, slow = self._slow.begin_round(ids)
        shares = [others[first : first + MAX_FLOWS] for first in range(0, len(others), MAX_FLOWS)]
        for share in [*shares, *([workflow] for workflow in slow)]:
            left = await self._left_of(share)
            if left:
                await self._database.run(transitions.DROP_EVENTS, id=sorted(left))
            moved = moved or len(left) < len(share)
        await self._advancer.mark()
        self._slow.end_round()
        return moved

    async def _left_of(self, share: Sequence[UUID]) -> list[UUID]:
        """Apply the events of some workflows and return those that did not advance.

        If a group fails, or takes too long, each workflow is tried on its own, so that one of them
        does not block the others.
        """
        if len(share) == 1:
            return await self._left_of_one(share[0])
        try:
            return await self._advance(share)
        except Exception as error:
            if isinstance(error, ServerUnavailable) and not was_canceled(error):
                raise
        return [workflow for one in share for workflow in await self._left_of_one(one)]

    async def _left_of_one(self, workflow: UUID) -> list[UUID]:
        with self._slow.tolerating(workflow):
            try:
                return await self._advance([workflow])
            except ServerUnavailable:
                raise
            except Exception:
                text = "a workflow failed to advance; its events are kept and tried again"
                log.exception(text, extra={"workflow_id": str(workflow)})
        return [workflow]

    async def _advance(self, share: Sequence[UUID]) -> list[UUID]:
        """Apply the events of some workflows and return those that did not advance."""
        advanced = await self._advancer.advance(share)
        self._has_more = self._has_more or bool(advanced.more)
        return advanced.left

    async def note_deadlines(self) -> bool:
        """Store an event for each workflow whose deadline has passed. Returns True if there may be
        more.
        """
        (row,) = await self._database.run(transitions.NOTE_DEADLINES, limit=BATCH)
        return bool(row["passed"] == BATCH)
