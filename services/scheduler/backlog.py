"""Tells Prometheus how much waits in each queue, and how long the first has waited."""

from datetime import datetime

from shared.ledger import engine
from shared.telemetry import metrics
from shared.transport.queues import Queues

EVERY_S = 5.0

#: One index probe. values: queue, priority.
FIRST_SENT = """
    SELECT sent_at FROM task WHERE queue = {} AND priority = {} AND sent_at IS NOT NULL
    ORDER BY sent_at LIMIT 1
"""
#: What is due and not yet sent, which is little unless Redis is away. values: limit.
DUE = """
    SELECT queue, count(*) AS due, min(send_at) AS first
    FROM (SELECT queue, send_at FROM task WHERE send_at <= now() ORDER BY send_at LIMIT {}) AS t
    GROUP BY queue
"""
#: More due rows than this are not counted.
DUE_LIMIT = 10_000
NOW = "SELECT now() AS now"


class Backlog:
    """Depth and oldest age by queue; only the leader tells, so that sums over processes are right."""

    def __init__(self, queues: Queues, queue_names: tuple[str, ...]) -> None:
        self._queues = queues
        self._names = queue_names

    async def run_once(self) -> bool:
        ((now,),) = [row.values() for row in await engine.run(NOW)]
        due = {row["queue"]: row for row in await engine.run(DUE, DUE_LIMIT)}
        for name in sorted({*self._names, *due}):
            depths = await self._queues.depths(name)
            first = [await self._first_sent(name, p) for p, depth in depths.items() if depth]
            waiting = due.get(name)
            if waiting:
                first.append(waiting["first"])
            oldest = min((at for at in first if at is not None), default=now)
            depth = sum(depths.values()) + (waiting["due"] if waiting else 0)
            metrics.DEPTH.labels(name).set(depth)
            metrics.OLDEST_AGE_SECONDS.labels(name).set(max(0.0, (now - oldest).total_seconds()))
        return False

    def forget(self) -> None:
        """Another process leads: it tells from now on."""
        metrics.DEPTH.clear()
        metrics.OLDEST_AGE_SECONDS.clear()

    async def _first_sent(self, queue: str, priority: int) -> datetime | None:
        rows = await engine.run(FIRST_SENT, queue, priority)
        return rows[0]["sent_at"] if rows else None
