"""Exports to Prometheus how many error groups are in each state."""

from services.scheduler.leader_gauges import LeaderGauges
from shared.ledger.database import Database
from shared.ledger.error_groups import STATE_NOW, State
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 15.0

STATES = Statement(f"SELECT {STATE_NOW} AS state, count(*) AS groups FROM error_group AS g GROUP BY 1")


class ErrorGauges:
    """Background service of the leading scheduler that counts error groups."""

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        counts = {row["state"]: row["groups"] for row in await self._database.run(STATES)}
        self._gauges.publish(
            "errors",
            gauge(
                "often_error_groups",
                "Groups of errors seen within the last 400 days, by state.",
                ("state",),
                {(state.value,): counts.get(state, 0) for state in State},
            ),
        )
        return False
