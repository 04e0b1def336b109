"""Exports to Prometheus how many daily partitions exist, how many may exist, and for how many
future days they exist.
"""

from collections import Counter

from services.scheduler.leader_gauges import LeaderGauges
from shared.contracts.maintenance import CLEANUP_OLD_TASKS, CleanupOldTasks
from shared.ledger import partitions, past
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.telemetry.metrics import gauge

EVERY_S = 15.0
#: Number of partitions that a table may have in addition to the days of the retention and the
#: future days: today, the day in which the last cutoff lies, and the kept partition.
BESIDE = 3

#: Reads the retention: the number of days for which the daily cleanup keeps tasks.
RETENTION = Statement("""
    SELECT coalesce(min((params->>'days_old')::integer), :default::integer) AS days FROM schedule
    WHERE task_name = :task AND enabled
""")


class PartitionGauges:
    """Background service of the leading scheduler that counts partitions."""

    def __init__(self, database: Database, gauges: LeaderGauges) -> None:
        self._database = database
        self._gauges = gauges

    async def run_once(self) -> bool:
        existing = await self._database.run(partitions.EXISTING)
        indexes = await self._database.run(past.INDEXES)
        unindexed = past.missing(existing, indexes, self._database.now().date())
        attached = Counter(row["table"] for row in existing)
        ahead = partitions.days_ahead({row["name"] for row in existing}, self._database.now().date())
        default = CleanupOldTasks().days_old
        (retention,) = await self._database.run(RETENTION, task=CLEANUP_OLD_TASKS.name, default=default)
        self._gauges.publish(
            "partitions",
            gauge(
                "often_ledger_partitions",
                "Attached partitions, by table.",
                ("table",),
                {(table,): attached[table] for table in partitions.PARTITIONED},
            ),
            gauge(
                "often_ledger_partitions_limit",
                "Maximum number of partitions of a table as long as the daily cleanup works.",
                (),
                {(): retention["days"] + partitions.DAYS_AHEAD + BESIDE},
            ),
            gauge(
                "often_ledger_days_ahead",
                "Days after today (UTC) that have their partitions; -1 when today has none.",
                (),
                {(): ahead},
            ),
            gauge(
                "often_ledger_days_unindexed",
                "Days before yesterday (UTC) that lack indexes by which lists search past days.",
                (),
                {(): len(unindexed)},
            ),
        )
        return False
