"""Creates the daily partitions of the task tables some days ahead."""

import itertools
import logging
from datetime import date

from services.scheduler.slow_items import was_canceled
from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import partitions, sqlstate
from shared.ledger.database import Database

log = logging.getLogger(__name__)

EVERY_S = 3_600.0
#: Lock time-out in seconds. A DDL statement that waits for its lock blocks every later statement on
#: the table, such as claims, so it must give up early.
LOCK_TIMEOUT_S = 2


class Partitioner:
    """Background service of the leading scheduler that creates missing daily partitions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> bool:
        """Create the missing partitions.

        If a partition cannot be created because a lock is taken, the next round tries again. The
        errors of all partitions are raised together, after the others were created. If Postgres is
        unavailable, no others are tried.
        """
        existing = {row["name"] for row in await self._database.run(partitions.EXISTING)}
        days = partitions.days_needed(self._database.now().date())
        errors = []
        for day, table in itertools.product(days, partitions.PARTITIONED):
            name = partitions.partition_name(table, day)
            if name in existing:
                continue
            try:
                await self._create(table, day)
            except Exception as error:  # noqa: BLE001 - it is raised below, with those of other partitions
                error.add_note(f"The partition {name} was not created.")
                errors.append(error)
                if isinstance(error, ServerUnavailable) and not was_canceled(error):
                    break
        if len(errors) == 1 and isinstance(errors[0], ServerUnavailable):
            raise errors[0]
        if errors:
            raise ExceptionGroup("partitions were not created", errors)
        return False

    async def _create(self, table: str, day: date) -> None:
        """Create one partition in one transaction.

        A table that was created but not attached could not be attached any more once a migration
        has changed the partitioned table.
        """
        name = partitions.partition_name(table, day)
        try:
            async with self._database.translated(), self._database.transaction():
                await self._database.run(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S}s'")
                await self._database.run(partitions.as_owner(local=True))
                for statement in partitions.create(table, day):
                    await self._database.run(statement)
        except ServerRefuses as error:
            if error.sqlstate != sqlstate.LOCK_NOT_AVAILABLE:
                raise
            log.warning(
                "a partition was not created because its lock is taken; the next round tries again: %s",
                error,
                extra={"partition": name},
            )
            return
        log.info("a partition was created", extra={"partition": name})
