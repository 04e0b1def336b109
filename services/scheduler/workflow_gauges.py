"""Exports to Prometheus how many workflows are unfinished, and how long the oldest workflow event
has waited.
"""

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 5.0

#: Counts unfinished workflows and reads the age of the oldest event, each through an index.
STATE = Statement("""
    SELECT (SELECT count(*) FROM workflow WHERE completed_at IS NULL) AS open,
           coalesce((
               SELECT extract(epoch FROM now() - created_at)::float8 FROM workflow_event ORDER BY id LIMIT 1
           ), 0) AS oldest_s
""")


class WorkflowGauges:
    """Background service of the leading scheduler that counts unfinished workflows."""

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
                "How long the oldest workflow event has waited to be applied.",
                (),
                {(): max(0.0, row["oldest_s"])},
            ),
        )
        return False
