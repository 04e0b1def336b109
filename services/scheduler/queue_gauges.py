"""Exports to Prometheus, for each queue, how many tasks wait, how long the first one has waited,
and whether the queue is paused.
"""

from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import LaneCheck
from services.scheduler.leader_gauges import LeaderGauges
from shared.backlog import LIMIT, Backlog
from shared.ledger.database import Database
from shared.ledger.queue_control import CONTROLS
from shared.telemetry.metrics import gauge
from shared.transport.queues import Queues

EVERY_S = 5.0


class QueueGauges:
    """Background service of the leading scheduler that counts waiting tasks."""

    def __init__(
        self,
        database: Database,
        gauges: LeaderGauges,
        queues: Queues,
        queue_names: tuple[str, ...],
        due: IndexCursor,
        lanes: LaneCheck,
    ) -> None:
        self._database = database
        self._gauges = gauges
        self._backlog = Backlog(database, queues)
        self._names = queue_names
        self._due = due
        self._lanes = lanes

    async def run_once(self) -> bool:
        controls = await self._database.run(CONTROLS)
        paused = {row["queue"] for row in controls if row["paused_at"] is not None}
        # Pauses are published on their own, so that they are exported even while Redis is
        # unavailable.
        self._gauges.publish(
            "pauses",
            gauge(
                "often_queue_paused",
                "1 while an operator has paused the queue.",
                ("queue",),
                {(name,): name in paused for name in sorted(paused.union(self._names))},
            ),
        )
        waiting = await self._backlog.read(
            [*self._names, *paused], due_after=self._due.after, sent_after=self._lanes.sent_after
        )
        self._gauges.publish(
            "queues",
            gauge(
                "often_queue_depth",
                "Tasks that could run now.",
                ("queue", "priority"),
                {(name, lane): count for name, each in waiting.items() for lane, count in each.depth.items()},
            ),
            gauge(
                "often_queue_oldest_age_seconds",
                "How long the task that could run first has waited.",
                ("queue",),
                {(name,): each.oldest_age_s for name, each in waiting.items()},
            ),
            gauge(
                "often_queue_due_later",
                f"Delayed tasks and retries, counted up to {LIMIT:,}.",
                ("queue",),
                {(name,): each.later for name, each in waiting.items()},
            ),
        )
        return False
