"""Finds workflows that an end of a task did not move, because an older release or a person's SQL ended it."""

import logging
from uuid import UUID

import msgspec

from shared.ledger.database import Database
from shared.ledger.transitions.workflow import REPAIR, REPAIR_ALONE
from shared.telemetry import metrics

log = logging.getLogger(__name__)

EVERY_S = 60.0
#: Workflows that moved within this time are left alone.
STILL_S = 300.0
#: Workflows of one round; the next round goes on behind the last one.
BATCH = 100


class WorkflowRepair:
    """One of the leader's services."""

    def __init__(self, database: Database, *, still_s: float = STILL_S) -> None:
        self._database = database
        self._still_s = still_s
        self._after = UUID(int=0)

    async def run_once(self) -> bool:
        """Look at the next workflows; the sweep applies what is noted."""
        async with self._database.short_transaction():
            await self._database.run(REPAIR_ALONE)
            (row,) = await self._database.run(REPAIR, after=self._after, still_s=self._still_s, limit=BATCH)
        self._after = row["last"] or UUID(int=0)
        if row["repaired"] is not None:
            metrics.WORKFLOW_STEPS_REPAIRED.inc(len(msgspec.json.decode(row["repaired"])))
            log.error("ends of tasks were recorded without an event; repaired: %s", row["repaired"])
        return False
