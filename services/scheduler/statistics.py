"""Sums the task statistics of minutes into those of hours, as soon as an hour is over.

It also deletes statistics and error groups that are too old.
"""

from shared.ledger.database import Database
from shared.ledger.error_groups import DROP_GROUPS, DROP_HOURS
from shared.ledger.rollup import DROP, DROP_MINUTES, FOLD

EVERY_S = 600.0


class Statistics:
    """Background service of the leading scheduler that sums statistics and deletes old ones."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> bool:
        """Sum the minutes of one hour. Returns True if there may be more hours to sum."""
        if await self._database.run(FOLD):
            return True
        for statement in (DROP_MINUTES, DROP, DROP_HOURS, DROP_GROUPS):
            await self._database.run(statement)
        return False
