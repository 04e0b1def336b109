"""Repairs workflows that have not noticed the end of one of their tasks.

This happens if an older release or manual SQL ended the task without storing a workflow event.
"""

import logging
from uuid import UUID

import msgspec

from shared.ledger.database import Database
from shared.ledger.transitions.workflow import REPAIR, REPAIR_ALONE
from shared.telemetry import metrics

log = logging.getLogger(__name__)

EVERY_S = 60.0
#: Workflows that changed within this many seconds are skipped, because their events may just be on
#: the way.
STILL_S = 300.0
#: Number of workflows that one round checks. The next round continues with the workflow after the
#: last one.
BATCH = 100


class WorkflowRepair:
    """Background service of the leading scheduler that adds missing workflow events."""

    def __init__(self, database: Database, *, still_s: float = STILL_S) -> None:
        self._database = database
        self._still_s = still_s
        self._after = UUID(int=0)

    async def run_once(self) -> bool:
        """Check the next workflows and store their missing events.

        The service `Sweep` then applies these events.
        """
        async with self._database.short_transaction():
            await self._database.run(REPAIR_ALONE)
            (row,) = await self._database.run(REPAIR, after=self._after, still_s=self._still_s, limit=BATCH)
        self._after = row["last"] or UUID(int=0)
        for repaired in msgspec.json.decode(row["repaired"] or "[]"):
            metrics.WORKFLOW_STEPS_REPAIRED.inc()
            text = (
                "a workflow had not noticed that tasks of a step had ended; the missing events were "
                "added and are applied next"
            )
            log.error(text, extra={"workflow_id": repaired["workflow"], "step": repaired["step"]})
        return False
