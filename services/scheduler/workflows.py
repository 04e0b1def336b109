"""Advances workflows that no worker has advanced, and notes deadlines that have passed."""

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

#: A worker that dies between its record and its advance delays a workflow by this.
EVERY_S = 0.25
DEADLINES_EVERY_S = 1.0
#: Rows that one statement reads or writes.
BATCH = 2_000


class Sweep:
    """One of the leader's services."""

    def __init__(self, database: Database, advancer: Advancer) -> None:
        self._database = database
        self._advancer = advancer
        self.cursor = Cursor()

    def restart(self) -> None:
        """Read all events again: another process may have led, or another server may answer."""
        self.cursor = Cursor()

    async def run_once(self) -> bool:
        """Advance what has events; True when there may be more at once. Raises ServerUnavailable."""
        try:
            return await self._advance_all(await self._pending())
        except ServerUnavailable:
            self.restart()
            raise

    async def _pending(self) -> list[UUID]:
        """Workflows with events, the oldest first."""
        after = self.cursor.after(time.monotonic())
        (row,) = await self._database.run(transitions.PENDING, after=after, limit=BATCH)
        self.cursor.note(Look(row["first"], row["last"], row["oldest_xid"], row["next_xid"]))
        return list(row["workflows"])

    async def _advance_all(self, ids: Sequence[UUID]) -> bool:
        """True when one of them moved."""
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
        """Advance some workflows; one that fails must not keep the others. Returns what has not moved."""
        try:
            return (await self._advancer.advance(share)).left
        except ServerUnavailable:
            raise
        except Exception:
            if len(share) == 1:
                log.exception("workflow %s cannot advance; its events stay", share[0])
                return list(share)
        return [workflow for one in share for workflow in await self._left_of([one])]

    async def note_deadlines(self) -> bool:
        """Note deadlines that have passed; True when there may be more."""
        (row,) = await self._database.run(transitions.NOTE_DEADLINES, limit=BATCH)
        return bool(row["passed"] == BATCH)
