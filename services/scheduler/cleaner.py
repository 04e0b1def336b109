"""Drops old days of tasks when a running cleanup task asks for it.

The cleanup task and this service communicate through a table, see `shared.ledger.cleanup`.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import asyncpg
import msgspec

from services.scheduler.kept import CROWDED, READ
from services.scheduler.pruner import BEHIND, Pruner
from shared.ledger import cleanup, partitions, sqlstate
from shared.ledger.database import Database
from shared.ledger.session import BY_INDEX
from shared.telemetry import metrics

EVERY_S = 1.0
#: Seconds without progress after which this service counts as stalled. A single step may take a
#: minute or two if other transactions lock the tables of a day.
STALL_S = 600.0
CLOSE_TIMEOUT_S = 2.0
#: Maximum pause after each dropped day. The pause is half as long as the work on the day, because
#: dropping files uses disk capacity that other processes need.
MAX_REST_S = 1.0
#: Statements for the session of a cleanup. They reset the settings by which sessions of the
#: scheduler avoid sequential scans, because a cleanup needs such scans.
RESET_PLANS = "; ".join(f"RESET {name}" for name in BY_INDEX)


class Cleaner:
    """Background service of the leading scheduler that carries out requests to drop old days."""

    def __init__(self, database: Database, turned: Callable[[], None]) -> None:
        """`turned` is called whenever a long round has made progress, so that the round does not
        count as stalled.
        """
        self._database, self._turned = database, turned

    async def run_once(self) -> bool:
        """Carry out the oldest open request, if there is one.

        Returns True if a request was completed, because another one may be waiting.
        """
        for row in await self._database.run(cleanup.NEXT):
            return await self._carry_out(row["task"], row["cutoff"])
        return False

    async def _carry_out(self, task: UUID, cutoff: datetime) -> bool:
        """Carry out one request.

        Returns False if another cleanup is running, for example in a scheduler that has just lost
        the leadership.
        """
        # This session has its own application name. The rescuer must not mistake it for a new
        # session of the scheduler, which would mean that connections had been cut.
        connection = await self._database.connect(part="cleanup")
        try:
            async with self._database.translated():
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", cleanup.LOCK):
                    return False
                await connection.execute(f"{RESET_PLANS}; {partitions.as_owner(local=False)}")
                pruned = await self._prune(connection, task, cutoff)
        finally:
            with contextlib.suppress(*sqlstate.NO_ANSWER):
                # Closing also frees the advisory lock
                await connection.close(timeout=CLOSE_TIMEOUT_S)
        result = msgspec.json.encode(pruned).decode()
        await self._database.run(cleanup.FINISH, task=task, result=result)
        return True

    async def _prune(self, connection: asyncpg.Connection, task: UUID, cutoff: datetime) -> cleanup.Pruned:
        pruner = Pruner(connection)
        for reason in (READ, CROWDED, BEHIND):
            metrics.PARTITIONS_KEPT.labels(reason).set(0)
        days = await pruner.days(cutoff)
        for number, day in enumerate(days):
            begun = time.monotonic()
            if not await self._is_wanted(task, number, len(days)) or not await pruner.prune(day):
                break
            if day != days[-1]:
                await asyncio.sleep(min((time.monotonic() - begun) / 2, MAX_REST_S))
        if await self._is_wanted(task, len(days), len(days)):
            await pruner.prune_kept(cutoff)
        return pruner.pruned

    async def _is_wanted(self, task: UUID, done: int, days: int) -> bool:
        """Report progress to the cleanup task.

        Returns False if the task was canceled or no longer waits for this service.
        """
        self._turned()
        rows = await self._database.run(cleanup.WORKING, task=task, done=done, days=days)
        return bool(rows) and not rows[0]["cancelled"]
