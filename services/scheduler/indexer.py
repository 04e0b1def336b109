"""Builds the additional indexes of past days, with which task lists search them.

The indexes are defined in `shared.ledger.past`.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence

import asyncpg

from services.scheduler.cleaner import CLOSE_TIMEOUT_S, RESET_PLANS
from shared.ledger import cleanup, partitions, past, sqlstate
from shared.ledger.database import Database

log = logging.getLogger(__name__)

EVERY_S = 600.0
#: Seconds without progress after which this service counts as stalled. Building one index of a
#: large day takes minutes.
STALL_S = 3_600.0
#: How many seconds an index build waits for open transactions that block it. After that, the next
#: round of this service tries again.
LOCK_TIMEOUT_S = 60


class Indexer:
    """Background service of the leading scheduler that builds the missing indexes of past days."""

    def __init__(self, database: Database, turned: Callable[[], None]) -> None:
        """`turned` is called whenever a long round has made progress, so that the round does not
        count as stalled.
        """
        self._database, self._turned = database, turned
        self._tried: str | None = None

    async def run_once(self) -> bool:
        """Build the missing indexes of one day. Returns True if other days may lack indexes too."""
        existing = await self._database.run(partitions.EXISTING)
        indexes = await self._database.run(past.INDEXES)
        missing = past.missing(existing, indexes, self._database.now().date())
        if not missing:
            return False
        # Each round takes another day, so that a day whose build fails does not block the others.
        earlier = [day for day in missing if self._tried is not None and day < self._tried]
        self._tried = next(iter(earlier or missing))
        return await self._index(self._tried, missing[self._tried]) and len(missing) > 1

    async def _index(self, day: str, names: Sequence[str]) -> bool:
        """Build the missing indexes of a day.

        Returns False if a cleanup, another leader or an open transaction prevents it.
        """
        connection = await self._database.connect(part="indexes")
        try:
            async with self._database.translated():
                await connection.execute(f"{RESET_PLANS}; SET lock_timeout = '{LOCK_TIMEOUT_S}s'")
                await connection.execute(partitions.as_owner(local=False))
                return await self._build(connection, day, names)
        finally:
            with contextlib.suppress(*sqlstate.NO_ANSWER):
                await connection.close(timeout=CLOSE_TIMEOUT_S)

    async def _build(self, connection: asyncpg.Connection, day: str, names: Sequence[str]) -> bool:
        begun = time.monotonic()
        try:
            for covered in names:
                if not await self._create(connection, day, covered, is_last=covered == names[-1]):
                    return False
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            log.warning(
                "open transactions block the indexes of a past day's partition; the next round tries it: %s",
                error,
                extra={"partition": day},
            )
            return False
        except asyncpg.UndefinedTableError:
            log.info(
                "a day's partition was dropped before all its indexes were built", extra={"partition": day}
            )
            return False
        text = "the indexes of a past day's partition were built in %.1f s"
        log.info(text, time.monotonic() - begun, extra={"partition": day})
        return True

    async def _create(self, connection: asyncpg.Connection, day: str, covered: str, *, is_last: bool) -> bool:
        """Build one index of a day. Returns False if a cleanup runs or is requested, because it has
        priority.

        A day that has all its indexes is not visited again. The missing rows of `task_failure` are
        therefore written before the day's last index is built.
        """
        if await self._database.run(cleanup.NEXT):
            return False
        if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", cleanup.LOCK):
            return False
        try:
            if is_last:
                await connection.execute(past.note_failures(day))
            await connection.execute(past.drop(past.index_name(day, covered)))
            await connection.execute(past.create(day, covered))
        finally:
            with contextlib.suppress(*sqlstate.NO_ANSWER):
                await connection.execute("SELECT pg_advisory_unlock($1)", cleanup.LOCK)
        self._turned()
        return True
