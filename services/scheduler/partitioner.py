"""Makes the ledger's daily partitions ahead of time."""

import logging
from datetime import UTC, date, datetime

from shared.errors import ServerRefuses
from shared.ledger import engine, partitions, sqlstate
from shared.ledger.tables import Task

log = logging.getLogger(__name__)

EVERY_S = 3_600.0
#: A waiting DDL statement stops every claim behind it, so it gives up soon.
LOCK_TIMEOUT_S = 2


class Partitioner:
    """Adds the days that are missing."""

    async def run_once(self) -> bool:
        """Each step is safe to repeat; a lock that is not free soon is left to the next round."""
        existing = {row["name"] for row in await engine.run(partitions.EXISTING)}
        today = datetime.now(UTC).date()
        for day in partitions.days_needed(today):
            for table in partitions.PARTITIONED:
                if partitions.partition_name(table, day) not in existing:
                    await self._create(table, day)
        return False

    async def _create(self, table: str, day: date) -> None:
        for statement in partitions.create(table, day):
            try:
                async with engine.translated(), engine.transaction():
                    await Task.raw(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                    await Task.raw(statement)
            except ServerRefuses as error:
                if error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE:
                    raise
                log.warning("partition %s waits for a lock", partitions.partition_name(table, day))
                return
        log.info("partition %s is ready", partitions.partition_name(table, day))
