"""Folds minutes of the statistics into hours, and drops hours that are too old."""

from shared.ledger.database import Database
from shared.ledger.rollup import DROP, FOLD

EVERY_S = 600.0


class Statistics:
    """One of the leader's services."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run_once(self) -> bool:
        """Fold an hour; True when there may be more."""
        if await self._database.run(FOLD):
            return True
        await self._database.run(DROP)
        return False
