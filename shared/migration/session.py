"""The database session in which the steps of a migration run."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from shared.errors import MigrationError
from shared.migration.patience import PATIENCE, Patience, Waiter

#: How often Postgres may cancel a short statement for exceeding its time limit before the migration
#: fails. The first cancellations may be due to many short lock waits; after this many, the
#: statement itself is considered too slow.
MAX_CANCELED = 3


class Session:
    """Runs the statements of a migration one by one and waits for the locks that they need. No
    transaction spans several statements.
    """

    def __init__(self, connection: asyncpg.Connection, waiter: Waiter) -> None:
        self._connection, self._waiter, self._patience = connection, waiter, waiter.patience

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Run a query that takes little time, and return its rows."""
        return list(await self._connection.fetch(sql, *values))

    async def brief(self, statement: str) -> None:
        """Run a statement that holds a strong lock for a short time only. Raises MigrationError."""
        patience = self._patience
        for canceled in count(1):
            try:
                await self._waiter.patiently(statement, lambda: self._limited(statement))
                return
            except asyncpg.QueryCanceledError as error:
                if canceled >= MAX_CANCELED:
                    raise _too_long(statement, patience.brief_s) from error
            await asyncio.sleep(patience.first_pause_s * 4**canceled)

    async def _limited(self, statement: str) -> None:
        async with self._connection.transaction():
            await self._connection.execute(timeouts(self._patience.lock_timeout_s, self._patience.brief_s))
            await self._connection.execute(statement)

    async def long(self, statement: str) -> None:
        """Run a statement that takes long but blocks neither readers nor writers."""
        async with self._waiter.watched(statement):
            await self._connection.execute(statement)


@asynccontextmanager
async def opened(engine: PostgresEngine, patience: Patience = PATIENCE) -> AsyncIterator[Session]:
    """Open a migration session.

    It uses the connection of the engine's pool, if there is a pool, and otherwise a new connection.
    """
    async with contextlib.AsyncExitStack() as closing:
        if engine.pool is not None:
            connection = await closing.enter_async_context(engine.pool.acquire())
        else:
            connection = await engine.get_new_connection()
            closing.push_async_callback(connection.close)
        pid = await connection.fetchval("SELECT pg_backend_pid()")
        yield Session(connection, Waiter(engine, pid, patience))


def timeouts(lock_s: float, statement_s: float) -> str:
    """SQL that sets the lock and statement time limits of the open transaction. 0 means no
    limit.
    """
    limits = {"lock_timeout": lock_s, "statement_timeout": statement_s}
    return "; ".join(f"SET LOCAL {name} = '{limit_s * 1000:.0f}ms'" for name, limit_s in limits.items())


def _too_long(statement: str, limit_s: float) -> MigrationError:
    return MigrationError(
        f"{statement} held up all other statements for more than {limit_s:g} s and was undone: it scans or "
        "rewrites the table. Split it as docs/upgrading.md describes, then run the migration again."
    )
