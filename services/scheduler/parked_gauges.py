"""Exports to Prometheus how many tasks of each name are parked.

A worker parks a task, that is, gives it back for a while, if it does not know the task's name or
version.
"""

from collections import Counter

from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import LaneCheck
from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.lifecycle import UNKNOWN_TO_WORKERS
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 10.0
#: Maximum number of rows that are read from each of two indexes. A parked task is sent again every
#: 15 s, so it is always among the first rows soon.
LIMIT = 2_000

#: Counts parked tasks. A parked task waits until its `send_at`, a few seconds ahead, and is then in
#: a lane until a worker tries it again. Its row keeps the wait reason until a worker claims the
#: task.
PARKED = Statement("""
    SELECT name FROM (
        SELECT name, wait_reason FROM task
        WHERE send_at > :due_after AND send_at < now() + interval '20 s' ORDER BY send_at LIMIT :limit
    ) AS due WHERE starts_with(wait_reason, :reason)
    UNION ALL
    SELECT name FROM (
        SELECT t.name, t.wait_reason
        FROM unnest(:queue::text[], :priority::integer[], :sent_after::timestamptz[])
            AS lane(queue, priority, sent_after)
        CROSS JOIN LATERAL (
            SELECT name, wait_reason FROM task
            WHERE queue = lane.queue AND priority = lane.priority AND sent_at IS NOT NULL
              AND sent_at > lane.sent_after
            ORDER BY sent_at LIMIT :limit
        ) AS t LIMIT :limit
    ) AS sent WHERE starts_with(wait_reason, :reason)
""")


class ParkedGauges:
    """Background service of the leading scheduler that counts parked tasks."""

    def __init__(self, database: Database, gauges: LeaderGauges, due: IndexCursor, lanes: LaneCheck) -> None:
        self._database = database
        self._gauges = gauges
        self._due = due
        self._lanes = lanes

    async def run_once(self) -> bool:
        rows = await self._database.run(
            PARKED,
            due_after=self._due.after,
            **self._lanes.lanes(),
            limit=LIMIT,
            reason=UNKNOWN_TO_WORKERS,
        )
        counts = Counter((row["name"],) for row in rows)
        documentation = f"Tasks that no worker knows, or not in this version, among {2 * LIMIT:,} that wait."
        self._gauges.publish("parked", gauge("often_tasks_parked", documentation, ("task",), counts))
        return False
