"""Exports how many tasks wait in each queue, how long the first one has waited, and how many are due later.

Every statement reads one index and a bounded number of rows, however many there are: lengths come from Redis,
ages from the head of each lane.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S
from shared.telemetry.metrics import gauge
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Queues

EVERY_S = 5.0

#: One index probe.
FIRST_SENT = Statement("""
    SELECT sent_at FROM task WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL
    ORDER BY sent_at LIMIT 1
""")
#: Tasks that are due and not yet sent; there are few unless Redis is away.
DUE = Statement("""
    SELECT queue, priority, count(*) AS due, min(send_at) AS first
    FROM (SELECT queue, priority, send_at FROM task WHERE send_at <= now() ORDER BY send_at LIMIT :limit) AS t
    GROUP BY queue, priority
""")
#: Delayed tasks and retries, without those that were stored a moment ago and are being pushed.
LATER = Statement(f"""
    SELECT queue, count(*) AS later
    FROM (
        SELECT queue FROM task WHERE send_at > now() + interval '{PUSH_NET_S} s' ORDER BY send_at LIMIT :limit
    ) AS t
    GROUP BY queue
""")
#: At most this many due tasks and as many later ones are counted.
LIMIT = 10_000
NOW = "SELECT now() AS now"

#: The lane that is popped first; its tasks may have any priority.
RESCUED = "rescued"


class QueueGauges:
    """One of the leader's services."""

    def __init__(
        self, database: Database, gauges: LeaderGauges, queues: Queues, queue_names: tuple[str, ...]
    ) -> None:
        self._database = database
        self._gauges = gauges
        self._queues = queues
        self._names = queue_names

    async def run_once(self) -> bool:
        ((now,),) = [row.values() for row in await self._database.run(NOW)]
        due = await self._database.run(DUE, limit=LIMIT)
        later = {row["queue"]: row["later"] for row in await self._database.run(LATER, limit=LIMIT)}
        depth: dict[tuple[str, str], int] = {}
        age: dict[tuple[str], float] = {}
        for name in sorted({*self._names, *later, *(row["queue"] for row in due)}):
            unsent = [row for row in due if row["queue"] == name]
            lanes = await self._lanes(name)
            waiting = [*await self._first_sent(name, lanes), *(row["first"] for row in unsent)]
            depth |= {(name, lane): count for lane, count in _with_unsent(lanes, unsent).items()}
            age[name,] = max(0.0, (now - min(waiting, default=now)).total_seconds())
        self._gauges.publish(
            "queues",
            gauge("often_queue_depth", "Tasks that could run now.", ("queue", "priority"), depth),
            gauge(
                "often_queue_oldest_age_seconds",
                "How long the task that could run first has waited.",
                ("queue",),
                age,
            ),
            gauge(
                "often_queue_due_later",
                f"Delayed tasks and retries: how many of the {LIMIT:,} that are due next.",
                ("queue",),
                {(name,): later.get(name, 0) for (name,) in age},
            ),
        )
        return False

    async def _lanes(self, queue: str) -> dict[str, int]:
        rescued, lanes = await self._queues.depths(queue)
        return {RESCUED: rescued} | {str(priority): count for priority, count in lanes.items()}

    async def _first_sent(self, queue: str, lanes: Mapping[str, int]) -> Sequence[datetime]:
        """The oldest of each lane that is not empty; rescued ids may have any priority."""
        found = []
        for priority in PRIORITIES:
            if lanes[str(priority)] or lanes[RESCUED]:
                found += await self._database.run(FIRST_SENT, queue=queue, priority=priority)
        return [row["sent_at"] for row in found]


def _with_unsent(lanes: Mapping[str, int], unsent: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Lengths of the lanes, plus what will be sent into them."""
    counts = dict(lanes)
    for row in unsent:
        counts[str(row["priority"])] += row["due"]
    return counts
