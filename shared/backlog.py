"""Counts the tasks that wait in each queue, and how long the oldest one has waited.

Every SQL statement reads one index and a limited number of rows, however many tasks wait. The
number of tasks in a lane (the Redis list of one queue and priority) comes from Redis. Their waiting
time is that of the oldest task in Postgres that was sent to the lane. A canceled task is counted as
long as its id is in a lane.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.ledger.transitions.submit import PUSH_NET_S
from shared.transport.keys import PRIORITIES
from shared.transport.queues import Queues

#: Reads when the oldest task of a lane was sent to it, with one index probe. None was sent before
#: `after`.
FIRST_SENT = Statement("""
    SELECT sent_at FROM task
    WHERE queue = :queue AND priority = :priority AND sent_at IS NOT NULL AND sent_at > :after
    ORDER BY sent_at LIMIT 1
""")
#: Counts the tasks that are due but not yet sent to Redis, by queue and priority. There are few of
#: them unless Redis is unavailable.
DUE = Statement("""
    SELECT queue, priority, count(*) AS due, min(send_at) AS first
    FROM (
        SELECT queue, priority, send_at FROM task WHERE send_at > :after AND send_at <= now()
        ORDER BY send_at LIMIT :limit
    ) AS t
    GROUP BY queue, priority
""")
#: Counts the delayed tasks and retries of each queue. Tasks that were just stored and are being
#: pushed to Redis are not counted.
LATER = Statement(f"""
    SELECT queue, count(*) AS later
    FROM (
        SELECT queue FROM task WHERE send_at > now() + interval '{PUSH_NET_S} s' ORDER BY send_at LIMIT :limit
    ) AS t
    GROUP BY queue
""")
#: Maximum number of due tasks that are counted, and maximum number of delayed tasks and retries.
LIMIT = 10_000
NOW = "SELECT now() AS now"
#: A time before that of any task. As the lower bound of due times, it means that there is no bound.
BEGINNING = datetime(1, 1, 1, tzinfo=UTC)

#: Name under which the lane of rescued tasks is reported. Workers fetch from this lane first. Its
#: tasks may have any priority.
RESCUED = "rescued"


@dataclass(frozen=True, slots=True)
class Waiting:
    """The number of tasks that wait in one queue, and how long the oldest one has waited."""

    #: Number of tasks that are ready to run, by lane. A lane is named by its priority, or by
    #: `RESCUED`.
    depth: Mapping[str, int]
    #: Seconds for which the oldest task that is ready to run has waited.
    oldest_age_s: float
    #: Number of delayed tasks and retries of this queue. Only the `LIMIT` tasks of all queues that
    #: are due next are counted.
    later: int


class Backlog:
    """Reads how many tasks wait, from the ledger in Postgres and from the lanes in Redis."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues

    async def read(
        self,
        names: Iterable[str],
        *,
        due_after: datetime = BEGINNING,
        sent_after: Callable[[str, int], datetime] = lambda _queue, _priority: BEGINNING,
    ) -> dict[str, Waiting]:
        """Return the waiting tasks by queue, for the given queues and for others in which tasks
        wait.

        All tasks that were due at the time `due_after` are known to be in Redis, and none of a queue
        and priority that waits there was sent before `sent_after`. Only later ones are searched for
        in Postgres. Raises ServerUnavailable.
        """
        ((now,),) = [row.values() for row in await self._database.run(NOW)]
        due = await self._database.run(DUE, after=due_after, limit=LIMIT)
        later = {row["queue"]: row["later"] for row in await self._database.run(LATER, limit=LIMIT)}
        waiting = {}
        for name in sorted({*names, *later, *(row["queue"] for row in due)}):
            unsent = [row for row in due if row["queue"] == name]
            lanes = await self._lanes(name)
            times = [*await self._first_sent(name, lanes, sent_after), *(row["first"] for row in unsent)]
            age_s = max(0.0, (now - min(times, default=now)).total_seconds())
            waiting[name] = Waiting(_with_unsent(lanes, unsent), age_s, later.get(name, 0))
        return waiting

    async def _lanes(self, queue: str) -> dict[str, int]:
        rescued, lanes = await self._queues.depths(queue)
        return {RESCUED: rescued} | {str(priority): count for priority, count in lanes.items()}

    async def _first_sent(
        self, queue: str, lanes: Mapping[str, int], sent_after: Callable[[str, int], datetime]
    ) -> Sequence[datetime]:
        """Return when the oldest task of each lane was sent, for lanes that are not empty.

        If the lane of rescued tasks is not empty, all priorities are read, because its tasks may
        have any.
        """
        found = []
        for priority in PRIORITIES:
            if lanes[str(priority)] or lanes[RESCUED]:
                after = sent_after(queue, priority)
                found += await self._database.run(FIRST_SENT, queue=queue, priority=priority, after=after)
        return [row["sent_at"] for row in found]


def _with_unsent(lanes: Mapping[str, int], unsent: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Add the due tasks that are not yet sent to Redis to the lengths of the lanes."""
    counts = dict(lanes)
    for row in unsent:
        counts[str(row["priority"])] += row["due"]
    return counts
