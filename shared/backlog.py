"""What waits in each queue: how many tasks, since when, and how many are due later.

Every statement reads one index and a bounded number of rows, however many there are: lengths come from Redis,
ages from the head of each lane. A lane still counts ids of tasks that were canceled meanwhile.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Queues

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


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in one queue."""

    #: Tasks that could run, by lane: a priority, or `RESCUED`.
    depth: Mapping[str, int]
    #: How long the task that could run first has waited.
    oldest_age_s: float
    #: Delayed tasks and retries among the `LIMIT` that are due next in all queues.
    later: int


class Backlog:
    """Reads ledger and lanes together."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    async def read(self, names: Iterable[str]) -> dict[str, Waiting]:
        """By queue: these, and those in which something else is due. Raises ServerUnavailable."""
        ((now,),) = [row.values() for row in await self._database.run(NOW)]
        due = await self._database.run(DUE, limit=LIMIT)
        later = {row["queue"]: row["later"] for row in await self._database.run(LATER, limit=LIMIT)}
        waiting = {}
        for name in sorted({*names, *later, *(row["queue"] for row in due)}):
            unsent = [row for row in due if row["queue"] == name]
            lanes = await self._lanes(name)
            times = [*await self._first_sent(name, lanes), *(row["first"] for row in unsent)]
            age_s = max(0.0, (now - min(times, default=now)).total_seconds())
            waiting[name] = Waiting(_with_unsent(lanes, unsent), age_s, later.get(name, 0))
        return waiting

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
