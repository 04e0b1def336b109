"""An engine for Piccolo's queries and transactions that uses this project's own connections."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any

import asyncpg
from piccolo.engine.postgres import PostgresEngine, PostgresTransaction

from shared.ledger import sqlstate
from shared.ledger.session import Connection
from shared.ledger.time_limit import SERVER_MARGIN_S


class Transaction(PostgresTransaction):
    """Piccolo's transaction, changed so that it always returns its connection to the pool.

    Piccolo's own class keeps the connection, and remains the current transaction, if its beginning
    is canceled or if its commit or rollback fails.
    """

    engine: "Engine"

    async def __aenter__(self) -> PostgresTransaction:
        if self._parent is not None:
            return self._parent
        while not await self._begin():
            pass
        self.context = self.engine.current_transaction.set(self)
        return self

    async def _begin(self) -> bool:
        """Begin the transaction on a connection of the pool.

        Returns False if the server had closed that connection before.
        """
        asked = time.monotonic()
        self.connection = await self.engine.acquire()
        self._waited_s = time.monotonic() - asked
        try:
            self.transaction = self.connection.transaction()
            await self._answered(self.transaction.start())
        except BaseException as error:
            await self.engine.give_back(self.connection)
            if sqlstate.was_never_sent(error):
                return False
            _blame_wait(self._waited_s, error)
            raise
        return True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if self._parent is not None:
            return error is None
        try:
            await self._finish(succeeded=error is None)
        finally:
            self.engine.current_transaction.reset(self.context)
            await self.engine.give_back(self.connection)
        _blame_wait(self._waited_s, error)
        return error is None

    async def _finish(self, *, succeeded: bool) -> None:
        """Commit or roll back the transaction, unless the caller has already done so."""
        if self._rolled_back or self._committed:
            return
        if succeeded:
            await self._answered(self.transaction.commit())
        else:
            # Errors of the rollback are ignored: a lost connection has rolled back by itself, and
            # the error that led to the rollback is more informative.
            with contextlib.suppress(asyncpg.InterfaceError, asyncpg.PostgresError, OSError):
                await self._answered(self.transaction.rollback())

    async def _answered(self, step: Awaitable[None]) -> None:
        """Await a command such as COMMIT. Cut the connection if Postgres does not answer."""
        try:
            await step
        except asyncpg.PostgresError:
            raise
        except BaseException:
            with contextlib.suppress(asyncpg.InterfaceError):  # The connection is already closed
                self.connection.terminate()
            raise


class Engine(PostgresEngine):
    """A Piccolo engine that can be created while Postgres is unavailable.

    Piccolo's own engine queries the server's version immediately.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]], kind: type[Connection]) -> None:
        self._connect = connect
        super().__init__(config={"connect": self._for_pool, "connection_class": kind}, extensions=())

    async def check_version(self) -> None:
        """Does nothing. The migrations check the version, because they need PostgreSQL 18."""

    async def _for_pool(self, *_: Any, **__: Any) -> Connection:
        """Open a connection for the pool.

        The pool passes the driver's arguments, which are ignored because the connector already has
        them.
        """
        return await self._connect()

    async def get_new_connection(self) -> Connection:
        """Open a connection that does not belong to the pool."""
        return await self._connect()

    async def fetch(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Run an SQL query directly, without Piccolo's query builder.

        The query builder takes as much time as a short statement itself.
        """
        transaction = self.current_transaction.get()
        if transaction is not None:
            return list(await transaction.connection.fetch(sql, *values))
        if self.pool is not None:
            return await self._run_in_pool(sql, values)
        connection = await self._connect()  # A program of one or two statements has no pool
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> list[Any]:
        while True:
            async with self._acquired() as connection:
                try:
                    return list(await connection.fetch(query, *(args or ())))
                except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                    # The driver is in a wrong state on this connection, so it is cut. Another
                    # connection will work.
                    if not isinstance(error, ValueError):
                        connection.terminate()
                    if not sqlstate.was_never_sent(error):
                        raise

    def transaction(self, allow_nested: bool = True) -> Transaction:
        """Return a transaction, as Piccolo's engine does.

        Raises RuntimeError if it is not called on the event loop of the pool.
        """
        if self.pool is not None:
            self._own_pool()
        return Transaction(engine=self, allow_nested=allow_nested)

    def _own_pool(self) -> asyncpg.Pool:
        """Return the pool. Raises RuntimeError unless this is the event loop of the pool.

        The driver may crash the process if two event loops share connections.
        """
        pool = self.pool
        assert pool is not None
        if pool._loop is not asyncio.get_running_loop():
            raise RuntimeError(
                "these connections belong to another event loop; in a task body that is not "
                "async, use context.wait_for(coroutine) instead of asyncio.run"
            )
        return pool

    @asynccontextmanager
    async def _acquired(self) -> AsyncIterator[Any]:
        asked = time.monotonic()
        connection = await self.acquire()
        waited_s = time.monotonic() - asked
        try:
            yield connection
        except asyncio.CancelledError as canceled:
            _blame_wait(waited_s, canceled)
            raise
        finally:
            await self.give_back(connection)

    async def acquire(self) -> Any:
        """Take a connection from the pool, or open one if there is no pool.

        If the wait times out because all connections are in use, the error says so.
        """
        if self.pool is None:
            return await self._connect()
        pool = self._own_pool()
        try:
            return await pool.acquire()
        except asyncio.CancelledError as canceled:
            if pool.get_idle_size() or pool.get_size() < pool.get_max_size():
                raise
            raise asyncio.CancelledError(sqlstate.ALL_IN_USE) from canceled

    async def give_back(self, connection: Any) -> None:
        """Return a connection to the pool, or close it if there is no pool."""
        if self.pool is None:
            await connection.close()
        else:
            await self.pool.release(connection)


def _blame_wait(waited_s: float, error: BaseException | None) -> None:
    """Replace a cancellation if a time-out occurred mainly because of the wait for a connection.

    The new cancellation names that reason, because the server had no time to answer.
    """
    if isinstance(error, asyncio.CancelledError) and waited_s >= SERVER_MARGIN_S:
        raise asyncio.CancelledError(sqlstate.ALL_IN_USE) from error
