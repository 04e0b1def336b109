"""Compares Redis and the ledger with the memory of this worker, and gives back what it does not hold."""

import logging
from typing import Any
from uuid import UUID

from services.worker.claims.claims import Claims
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import GIVE_BACK_FORGOTTEN, UNCLAIMED_TO_POSTGRES
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

RECONCILE_S = 5.0

HELD_IN_LEDGER = Statement("SELECT id, claim FROM task WHERE holder = :worker")


class Reconciler:
    """One comparison at a time, while no id is between Redis and the heap. Runs on the ledger loop."""

    def __init__(self, worker: UUID, claims: Claims, database: Database, queues: Queues) -> None:
        self._worker = worker
        self._claims = claims
        self._database = database
        self._queues = queues

    async def run_once(self) -> None:
        """Give back what Redis or the ledger ascribes to this process and its memory does not know."""
        # Memory before and after: what is acknowledged meanwhile was known before.
        known = self._claims.ids()
        stranded = await self._queues.unacked(self._worker) - known - self._claims.ids()
        rows: list[dict[str, Any]] = await self._database.run(HELD_IN_LEDGER, worker=self._worker)
        held = {UUID(int=row["id"].int): row["claim"] for row in rows}
        forgotten = {i: claim for i, claim in held.items() if i not in known and i not in self._claims}
        if forgotten:
            log.warning("%d tasks are held in the ledger only: given back", len(forgotten))
            ids = sorted(forgotten)
            numbers = [forgotten[i] for i in ids]
            await self._database.run(GIVE_BACK_FORGOTTEN, id=ids, claim=numbers, worker=self._worker)
        if stranded:
            log.warning("%d fetched ids were stranded: given back", len(stranded))
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(stranded))
            await self._queues.acknowledge(self._worker, stranded)
