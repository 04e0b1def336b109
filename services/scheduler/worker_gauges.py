"""Exports to Prometheus how many workers are in each state."""

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 5.0

#: Counts workers by state. A worker that was declared dead is counted for ten minutes, although its
#: row is kept for a week.
WORKERS = Statement("""
    SELECT CASE WHEN dead_at IS NULL THEN state ELSE 'dead' END AS state, count(*) FROM worker
    WHERE dead_at > now() - interval '10 minutes' OR (dead_at IS NULL AND stopped_at IS NULL)
    GROUP BY 1
""")
STATES = ("running", "quiet", "draining", "dead")


class WorkerGauges:
    """Background service of the leading scheduler that counts workers."""

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        counts = {(state,): 0 for state in STATES}
        counts |= {(row["state"],): row["count"] for row in await self._database.run(WORKERS)}
        documentation = "Workers by state; dead ones were declared so within ten minutes."
        self._gauges.publish("workers", gauge("often_workers", documentation, ("state",), counts))
        return False
