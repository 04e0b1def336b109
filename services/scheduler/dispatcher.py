"""Pushes the ids of due tasks to Redis: each to the lane (list) of its queue and priority.

Due tasks are delayed tasks whose time has come, retries, and tasks that were stored but not pushed
because the submitting process died or Redis was unavailable.
"""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from services.scheduler.index_cursor import IndexCursor
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.send import MARK_SENT
from shared.telemetry import metrics
from shared.transport.queues import Address, Queues

log = logging.getLogger(__name__)

#: Interval between two rounds of this service, and therefore the longest delay before a due task is
#: pushed.
EVERY_S = 0.25
#: Maximum number of ids that one round pushes. A full round is followed by the next one
#: immediately.
BATCH = 2_000

#: A task that becomes due at a time this far in the past may still appear, because `send_at` is the
#: start of a transaction that may commit seconds later.
SETTLING = timedelta(seconds=10)

_DUE = "SELECT id, claim, queue, priority, suspect FROM task WHERE send_at <= now()"
#: Reads due tasks through the index of `send_at` only. Tasks that already wait in Redis have no
#: entry in that index, so they add no cost, however many there are. If no task is due, the only row
#: has the current time and a null id: the cursor follows the clock of Postgres, because the clock of
#: this machine may be wrong.
DUE = Statement(f"""
    SELECT now() AS now, due.* FROM (VALUES (1)) AS always LEFT JOIN (
        ({_DUE} AND send_at > :after ORDER BY send_at LIMIT :limit)
        UNION ALL
        ({_DUE} AND send_at > :window_start AND send_at <= :window_end ORDER BY send_at LIMIT :limit)
    ) AS due ON true
""")


class Dispatcher:
    """Background service of the leading scheduler that pushes due tasks to Redis."""

    def __init__(self, database: Database, queues: Queues, cursor: IndexCursor) -> None:
        self._database = database
        self._queues = queues
        self._cursor = cursor

    async def run_once(self) -> bool:
        """Push a batch of due tasks to Redis, then mark their rows as sent. Returns True if more
        may be due.

        If the process dies between the two steps, the ids are pushed twice, which is harmless.
        """
        rows = await self._database.run(DUE, limit=BATCH, **dataclasses.asdict(self._cursor.look()))
        now, due = rows[0]["now"], [row for row in rows if row["id"] is not None]
        self._database.note_time(now)
        if due:
            await self._send(due)
        if self._cursor.restart_if_ahead_of(now):
            log.warning("the clock of Postgres was set back; all due tasks are searched for again")
            return True
        if len(due) >= BATCH:
            return True
        self._cursor.note_empty(now - SETTLING)
        return False

    async def _send(self, rows: Sequence[Mapping[str, Any]]) -> None:
        await self._queues.push(
            Address(UUID(int=r["id"].int), r["queue"], r["priority"], rescued=r["suspect"]) for r in rows
        )
        marks = sorted((row["id"], row["claim"]) for row in rows)
        ids, claims = zip(*marks, strict=True)
        await self._database.run(MARK_SENT, id=list(ids), claim=list(claims))
        metrics.SENT.labels("due").inc(len(rows))
