"""Builds the indexes by which lists search past days (`shared.ledger.past`)."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import asyncpg

from services.scheduler.cleaner import CLOSE_TIMEOUT_S, RESET_PLANS
from shared.ledger import cleanup, partitions, past, sqlstate
from shared.ledger.database import Database

log = logging.getLogger(__name__)

EVERY_S = 600.0
#: The indexes of a large day take minutes.
STALL_S = 3_600.0
#: A build waits for transactions that are open. It gives up, and the next round goes on.
LOCK_TIMEOUT_S = 60


class Indexer:
    """One of the leader's services."""

    def __init__(self, database: Database, turned: Callable[[], None]) -> None:
        """`turned` is called whenever a long round has made progress."""
        self._database, self._turned = database, turned

    async def run_once(self) -> bool:
        """Build what one day lacks; True when there may be more."""
        existing = await self._database.run(partitions.EXISTING)
        indexes = await self._database.run(past.INDEXES)
        missing = past.missing(existing, indexes, datetime.now(UTC).date())
        for day, names in missing.items():
            return await self._index(day, names) and len(missing) > 1
        return False

    async def _index(self, day: str, names: Sequence[str]) -> bool:
        """Returns False if the cleanup, another leader or an open transaction is in the way."""
        connection = await self._database.connect(part="indexes")
        try:
            async with self._database.translated():
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", cleanup.LOCK):
                    return False
                await connection.execute(f"{RESET_PLANS}; SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
                await connection.execute(partitions.as_owner(local=False))
                return await self._build(connection, day, names)
        finally:
            with contextlib.suppress(*sqlstate.NO_ANSWER):
                await connection.close(timeout=CLOSE_TIMEOUT_S)  # which frees the lock

    async def _build(self, connection: asyncpg.Connection, day: str, names: Sequence[str]) -> bool:
        begun = time.monotonic()
        try:
            for covered in names:
                await connection.execute(past.drop(past.index_name(day, covered)))
                await connection.execute(past.create(day, covered))
                self._turned()
            await connection.execute(past.note_failures(day))
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.warning(
                "the indexes of %s wait for open transactions; the next round goes on: %s", day, error
            )
            return False
        log.info("the indexes of %s are ready after %.1f s", day, time.monotonic() - begun)
        return True
