"""Adds the numbers of attempts that waited and that ran to the statistics.

They are the sums of the histograms. A time series reads many rows, and adding up 23 elements of
arrays in each of them took most of its time.
"""

from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from shared.migration.steps import AddColumn, Step
from shared.sql_migration import in_steps

ID = "2026-12-01T08:30:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "Statistics: attempts that waited, and that ran"


def _sum_of(table: str, name: str, histogram: str, buckets: int) -> Step:
    buckets_added = " + ".join(f"{histogram}[{number}]" for number in range(1, buckets + 1))
    return AddColumn(
        table=table, name=name, definition=f"bigint GENERATED ALWAYS AS ({buckets_added}) STORED"
    )


STEPS: list[Step] = [
    step
    for table in ("task_minute", "task_hour")
    for step in (_sum_of(table, "waited", "wait_hist", 12), _sum_of(table, "ran", "run_hist", 11))
]


async def forwards() -> MigrationManager:
    return in_steps(ID, "ledger", DESCRIPTION, STEPS)
