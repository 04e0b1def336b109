"""Creates the ledger's daily partitions ahead of time."""

import logging
from datetime import UTC, date, datetime

from shared.errors import ServerRefuses
from shared.ledger import partitions, sqlstate
from shared.ledger.database import Database

log = logging.getLogger(__name__)

EVERY_S = 3_600.0
#: A DDL statement that waits for its lock stops every claim behind it, so it gives up early.
LOCK_TIMEOUT_S = 2


class Partitioner:
    """Adds the days that are missing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> bool:
        """Each step is safe to repeat. A partition whose lock is not free is left to the next round."""
        existing = {row["name"] for row in await self._database.run(partitions.EXISTING)}
        today = datetime.now(UTC).date()
        for day in partitions.days_needed(today):
            for table in partitions.PARTITIONED:
                if partitions.partition_name(table, day) not in existing:
                    await self._create(table, day)
        return False

    async def _create(self, table: str, day: date) -> None:
        name = partitions.partition_name(table, day)
        for statement in partitions.create(table, day):
            try:
                async with self._database.translated(), self._database.transaction():
                    await self._database.run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                    await self._database.run(partitions.as_owner(local=True))
                    await self._database.run(statement)
            except ServerRefuses as error:
                if error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE:
                    raise
                log.warning("partition %s waits for a lock; the next round tries again: %s", name, error)
                return
        log.info("partition %s is ready", name)
