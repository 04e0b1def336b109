"""Exports how many workflows are under way, and how long the oldest event of one has waited."""

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 5.0

#: Two index scans: of unfinished workflows, and of the first event.
STATE = Statement("""
    SELECT (SELECT count(*) FROM workflow WHERE completed_at IS NULL) AS open,
           coalesce((
               SELECT extract(epoch FROM now() - created_at)::float8 FROM workflow_event ORDER BY id LIMIT 1
           ), 0) AS oldest_s
""")


class WorkflowGauges:
    """One of the leader's services."""

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        (row,) = await self._database.run(STATE)
        self._gauges.publish(
            "workflows",
            gauge("often_workflows_open", "Workflows that have not ended.", (), {(): row["open"]}),
            gauge(
                "often_workflow_event_oldest_seconds",
                "How long the oldest end of a task has waited to move its workflow.",
                (),
                {(): max(0.0, row["oldest_s"])},
            ),
        )
        return False
