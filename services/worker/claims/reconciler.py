"""Compares what Redis and Postgres assign to this worker with what the worker holds in memory.

Tasks that the worker does not hold are given back, because it will never run them.
"""

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
    """Runs the comparisons.

    The caller must make sure that no id is on its way from Redis to the heap of waiting attempts
    meanwhile. Use it only on the ledger event loop.
    """

    def __init__(self, worker: UUID, claims: Claims, database: Database, queues: Queues) -> None:
        self._worker = worker
        self._claims = claims
        self._database = database
        self._queues = queues

    async def run_once(self) -> None:
        """Give back the tasks that are assigned to this worker but are not in its memory."""
        # The ids in memory are read before and after Redis is read. A task that is acknowledged in
        # between is then known from the first read and is not given back by mistake.
        known = self._claims.ids()
        stranded = await self._queues.unacked(self._worker) - known - self._claims.ids()
        rows: list[dict[str, Any]] = await self._database.run(HELD_IN_LEDGER, worker=self._worker)
        held = {UUID(int=row["id"].int): row["claim"] for row in rows}
        forgotten = {i: claim for i, claim in held.items() if i not in known and i not in self._claims}
        if forgotten:
            log.warning(
                "gave back %d tasks that the ledger assigns to this worker but that it does not hold",
                len(forgotten),
            )
            ids = sorted(forgotten)
            numbers = [forgotten[i] for i in ids]
            await self._database.run(GIVE_BACK_FORGOTTEN, id=ids, claim=numbers, worker=self._worker)
        if stranded:
            log.warning("gave back %d ids that were fetched by this worker but never claimed", len(stranded))
            await self._database.run(UNCLAIMED_TO_POSTGRES, id=sorted(stranded))
            await self._queues.acknowledge(self._worker, stranded)
