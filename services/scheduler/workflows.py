"""Advances workflows that no worker has advanced, and notes deadlines that have passed."""

from shared.ledger.database import Database
from shared.ledger.transitions import workflow as transitions
from shared.workflows.advance import MAX_FLOWS
from shared.workflows.advancer import Advancer

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

    async def run_once(self) -> bool:
        """Advance what has events; True when there may be more at once."""
        rows = await self._database.run(transitions.PENDING, limit=BATCH)
        ids = [row["workflow"] for row in rows]
        moved = False
        for first in range(0, len(ids), MAX_FLOWS):
            share = ids[first : first + MAX_FLOWS]
            advanced = await self._advancer.advance(share)
            if advanced.left:
                await self._database.run(transitions.DROP_EVENTS, id=sorted(advanced.left))
            moved = moved or len(advanced.left) < len(share)
        return moved

    async def note_deadlines(self) -> bool:
        """Note deadlines that have passed; True when there may be more."""
        (row,) = await self._database.run(transitions.NOTE_DEADLINES, limit=BATCH)
        return bool(row["passed"] == BATCH)
