"""Piccolo's engine over our own connections."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from shared.ledger import sqlstate
from shared.ledger.session import Connection


class Engine(PostgresEngine):
    """It can be built while Postgres is away: Piccolo's own asks for the version at once."""

    def __init__(self, connect: Callable[[], Awaitable[Connection]], kind: type[Connection]) -> None:
        self._connect = connect
        super().__init__(config={"connect": self._for_pool, "connection_class": kind}, extensions=())

    async def check_version(self) -> None:
        """Left to the migrations, which need `uuidv7()` and therefore PostgreSQL 18."""

    async def _for_pool(self, *_: Any, **__: Any) -> Connection:
        """The pool passes the driver's arguments, which the session has already."""
        return await self._connect()

    async def get_new_connection(self) -> Connection:
        """A connection outside the pool."""
        return await self._connect()

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Past Piccolo's query builder, which costs as much as a short statement."""
        transaction = self.current_transaction.get()
        if transaction is not None:
            return list(await transaction.connection.fetch(sql, *values))
        if self.pool is not None:
            return await self._run_in_pool(sql, values)
        connection = await self._connect()  # a command that is done after a statement or two
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> list[Any]:
        async with self._acquired() as connection:
            try:
                return list(await connection.fetch(query, *(args or ())))
            except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                # The driver has lost track of this connection; another one has not.
                if not isinstance(error, ValueError):
                    connection.terminate()
                raise

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        """A connection of the pool. A time-out while all of them are in use says so."""
        pool = self.pool
        assert pool is not None
        try:
            connection = await pool.acquire()
        except asyncio.CancelledError as canceled:
            if pool.get_idle_size() or pool.get_size() < pool.get_max_size():
                raise
            raise asyncio.CancelledError(sqlstate.ALL_IN_USE) from canceled
        try:
            yield connection
        finally:
            await pool.release(connection)
