"""Drops the old days that a running cleanup asks for (`shared.ledger.cleanup`)."""

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
#: A day whose locks are taken is tried again for a minute or two, which is no stall.
STALL_S = 600.0
CLOSE_TIMEOUT_S = 2.0
#: After a day the cleanup rests for half as long as that took, and no longer than this: to drop files takes
#: time that others want.
MAX_REST_S = 1.0
#: Sessions of the scheduler avoid whole tables, which is what a cleanup reads.
RESET_PLANS = "; ".join(f"RESET {name}" for name in BY_INDEX)


class Cleaner:
    """One of the leader's services."""

    def __init__(self, database: Database, turned: Callable[[], None]) -> None:
        """`turned` is called whenever a long round has made progress."""
        self._database, self._turned = database, turned

    async def run_once(self) -> bool:
        """Carry out the request that has waited longest."""
        for row in await self._database.run(cleanup.NEXT):
            return await self._carry_out(row["task"], row["cutoff"])
        return False

    async def _carry_out(self, task: UUID, cutoff: datetime) -> bool:
        """False while another cleanup is at work, as that of a leader that was just replaced."""
        # A name of its own: the rescuer takes a new session of the scheduler for a sign of a cut.
        connection = await self._database.connect(part="cleanup")
        try:
            async with self._database.translated():
                if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", cleanup.LOCK):
                    return False
                await connection.execute(f"{RESET_PLANS}; {partitions.as_owner(local=False)}")
                pruned = await self._prune(connection, task, cutoff)
        finally:
            with contextlib.suppress(*sqlstate.NO_ANSWER):
                await connection.close(timeout=CLOSE_TIMEOUT_S)  # which frees the lock
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
        """Say how far it is. False when the task was canceled, or no longer waits."""
        self._turned()
        rows = await self._database.run(cleanup.WORKING, task=task, done=done, days=days)
        return bool(rows) and not rows[0]["cancelled"]
