"""Connection pools for Postgres. Each one is a `Database`, which runs SQL statements.

A `Database` is created in the `__main__` module of a service and passed on. It applies a time limit
of its own to each statement, in addition to the server's. It is the only place that translates the
driver's errors (see `sqlstate`).
"""

import asyncio
import contextvars
import functools
import itertools
import logging
import string
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

from piccolo.table import Table

from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import session as sessions
from shared.ledger import sqlstate
from shared.ledger.connector import Connector
from shared.ledger.engine import Engine
from shared.ledger.session import Connection, Session
from shared.ledger.statement import Statement
from shared.ledger.time_limit import STATEMENT_TIMEOUT_S, TASK_STATEMENT_TIMEOUT_S, timeout
from shared.telemetry import metrics

T = TypeVar("T")

log = logging.getLogger(__name__)

#: Number of seconds for which health checks report that Postgres has refused a statement. The last
#: refusal is remembered because a problem such as a full disk shows only when something is written.
REFUSAL_MEMORY_S = 5.0
#: Minimum number of seconds between two log lines about an unavailable Postgres. Requests that fail
#: in between log nothing.
LOG_EVERY_S = 10.0
#: Maximum number of seconds for which closing a pool waits for its connections. Code that does not
#: end may hold one, and the process must end nevertheless.
CLOSE_TIMEOUT_S = 2.0


class Database:
    """A connection pool for one event loop. Creating an instance opens no connection."""

    def __init__(self, url: str, session: Session, *, limit_s: float = STATEMENT_TIMEOUT_S) -> None:
        """Create a pool whose statements may take `limit_s` seconds.

        This includes the wait for a connection. Raises BrokenRule for an invalid URL.
        """
        self.limit_s = limit_s
        self._connector = Connector(url)
        self._session = session
        self.engine = Engine(lambda: self._connect(session), session.kind)
        self._offset = timedelta(0)
        self._refusal: tuple[float, str] = (float("-inf"), "")
        self._logged_at = float("-inf")

    @classmethod
    def for_service(cls, url: str, part: str, *, by_index: bool = False, planned_once: bool = False) -> Self:
        """Create a pool for short statements of the platform itself.

        The module `session` explains the settings `BY_INDEX` and `PLANNED_ONCE`.
        """
        return cls(url, sessions.of_service(part, by_index=by_index, planned_once=planned_once))

    @classmethod
    def for_recorder(cls, url: str, part: str) -> Self:
        """Create a pool for the worker's ledger loop.

        This event loop may be kept from running for seconds by task bodies that occupy the
        interpreter.
        """
        return cls(url, sessions.of_recorder(part))

    @classmethod
    def for_tasks(cls, url: str, part: str) -> Self:
        """Create a pool for the statements of task bodies.

        They may take longer than other statements, and may change the state of their session.
        """
        return cls(url, sessions.of_tasks(part), limit_s=TASK_STATEMENT_TIMEOUT_S)

    def followed_by(self, other: "Database") -> None:
        """Link another pool.

        If this pool leaves a server that is no longer the primary, the other pool also cuts its
        connections to that server.
        """
        self._connector.when_left.append(other._connector.leave)

    def bind(self, tables: Sequence[type[Table]]) -> None:
        """Make Piccolo's queries on these tables use this connection pool."""
        for table in tables:
            table._meta.db = self.engine

    async def open(self, *, size: int) -> None:
        """Open the pool in the running event loop.

        The first connection is opened when it is needed, so Postgres may still be unavailable.
        """
        # Idle connections are never closed. The rescuer, which takes back the tasks of dead
        # workers, regards a new connection of a scheduler as a sign that connections were cut.
        await self.engine.start_connection_pool(min_size=0, max_size=size, max_inactive_connection_lifetime=0)

    async def close(self) -> None:
        """Close the pool if it was opened. Connections that are not returned in time are cut."""
        if self.engine.pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.engine.close_connection_pool()
        except TimeoutError:  # asyncpg has cut the connections that were still in use
            log.warning("a connection to Postgres was still in use and was cut", exc_info=True)

    async def run(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Run one SQL statement and return its rows.

        A `Statement` takes its values by name. In a plain text, each `{}` is the placeholder of a
        value. Raises ServerUnavailable, or asyncpg's own error if the data is invalid or the
        statement does not fit the database.
        """
        if isinstance(sql, Statement):
            text, values = sql.sql, tuple(sql.values(named))
        else:
            text = _numbered(sql)
        async with self.translated(), timeout(self.limit_s):
            return [dict(row) for row in await self.engine.fetch(text, values)]

    async def answered(self, query: Awaitable[T]) -> T:
        """Await a query of Piccolo's query builder under the time limit.

        Raises ServerUnavailable.
        """
        async with self.translated(), asyncio.timeout(self.limit_s):
            return await query

    def transaction(self) -> Any:
        """Return a transaction without a time limit. Statements inside it use its connection."""
        return self.engine.transaction()

    @asynccontextmanager
    async def short_transaction(self) -> AsyncIterator[None]:
        """Run a transaction of a few short statements.

        Raises ServerUnavailable if it takes too long.
        """
        async with self.translated(), asyncio.timeout(self.limit_s), self.transaction():
            yield

    @asynccontextmanager
    async def all_or_nothing(self) -> AsyncIterator[None]:
        """Run a transaction without a time limit. Inside another transaction, it is a savepoint."""
        outer = self.engine.current_transaction.get()
        async with self.translated(), outer.connection.transaction() if outer else self.transaction():
            yield

    def in_transaction(self) -> bool:
        """True if the caller is inside a transaction of this pool."""
        return self.engine.current_transaction.get() is not None

    async def connect(self, *, part: str = "") -> Connection:
        """Open a connection outside the pool and without time limits.

        The caller has to close it. Raises ServerUnavailable.
        """
        return await self._connect(sessions.unlimited(self._session, part or self._session.part))

    async def _connect(self, session: Session) -> Connection:
        async with self.translated():
            return await self._connector.connect(session)

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Raise ServerUnavailable in place of a temporary error of the driver (see `sqlstate`)."""
        try:
            yield
        except Exception as error:
            unavailable = sqlstate.unavailable(error)
            if unavailable is None:
                raise
            self._note(unavailable)
            if _is_of_a_former_primary(error, unavailable):
                await self._reconnect()
            raise unavailable from error

    def _note(self, unavailable: ServerUnavailable) -> None:
        if time.monotonic() - self._logged_at > LOG_EVERY_S:
            self._logged_at = time.monotonic()
            text = (
                "%s; statements of this connection pool may fail until Postgres works again, and their "
                "callers try again"
            )
            log.warning(text, unavailable, extra={"pool": self._session.part})
        if isinstance(unavailable, ServerRefuses):
            self._refusal = time.monotonic(), str(unavailable)
            metrics.POSTGRES_REFUSALS.labels((unavailable.sqlstate or "")[:2]).inc()

    async def _reconnect(self) -> None:
        """Close the idle connections of the pool. Statements then open new ones."""
        if self.engine.pool is not None:
            await self.engine.pool.expire_connections()

    def recent_refusal(self) -> str | None:
        """Return why Postgres refused a statement of this pool within the last seconds, or None."""
        at, reason = self._refusal
        return reason if time.monotonic() - at < REFUSAL_MEMORY_S else None

    def now(self) -> datetime:
        """Return the current time of the database's clock.

        It is this machine's clock, corrected by the difference that `note_time` measured last.
        """
        return datetime.now(UTC) + self._offset

    def note_time(self, database_now: datetime) -> None:
        """Measure the difference between this machine's clock and the database's clock."""
        self._offset = database_now - datetime.now(UTC)
        metrics.CLOCK_OFFSET_SECONDS.set(self._offset.total_seconds())


def _is_of_a_former_primary(error: Exception, unavailable: ServerUnavailable) -> bool:
    """True if the error shows that the other connections of the pool are useless too.

    A connection to a server that was a read-only standby remains read-only, and a connection to a
    silent server remains silent.
    """
    if isinstance(unavailable, ServerRefuses):
        return unavailable.sqlstate == sqlstate.READ_ONLY
    return isinstance(error, TimeoutError)


async def in_fresh_context(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in a new context, so that it does not use the caller's transaction."""
    return await asyncio.create_task(work, context=contextvars.Context())


@functools.cache
def _numbered(sql: str) -> str:
    """Convert placeholders for the driver: the first `{}` becomes `$1`, and `{{` becomes `{`."""
    numbers = itertools.count(1)
    parts = string.Formatter().parse(sql)
    return "".join(text if field is None else f"{text}${next(numbers)}" for text, field, _, _ in parts)
