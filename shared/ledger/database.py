"""Connections to Postgres: one `Database` for each pool, made in a service's `__main__` and passed on.

It runs statements under a time limit of its own and of the server's, and translates the driver's errors at
this one boundary (see `sqlstate`).
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

#: A health check remembers this long what the last statement met: a full disk shows in writes only.
REFUSAL_MEMORY_S = 5.0
#: Pause between two log lines that say why Postgres does not serve. Requests that meet it log nothing.
LOG_EVERY_S = 10.0


class Database:
    """One pool of connections, for one event loop. Building it connects to nothing."""

    def __init__(self, url: str, session: Session, *, limit_s: float = STATEMENT_TIMEOUT_S) -> None:
        """A statement may take `limit_s` seconds, waiting for a connection included. Raises BrokenRule."""
        self.limit_s = limit_s
        self._connector = Connector(url)
        self._session = session
        self.engine = Engine(lambda: self._connect(session), session.kind)
        self._offset = timedelta(0)
        self._refusal: tuple[float, str] = (float("-inf"), "")
        self._logged_at = float("-inf")

    @classmethod
    def for_service(cls, url: str, part: str, *, by_index: bool = False, planned_once: bool = False) -> Self:
        """For a process' own short statements; see `BY_INDEX` and `PLANNED_ONCE` in `session`."""
        return cls(url, sessions.of_service(part, by_index=by_index, planned_once=planned_once))

    @classmethod
    def for_recorder(cls, url: str, part: str) -> Self:
        """For the ledger loop of a worker, which bodies may keep from running for seconds."""
        return cls(url, sessions.of_recorder(part))

    @classmethod
    def for_tasks(cls, url: str, part: str) -> Self:
        """For the bodies of tasks, whose statements may take longer and leave session state behind."""
        return cls(url, sessions.of_tasks(part), limit_s=TASK_STATEMENT_TIMEOUT_S)

    def followed_by(self, other: "Database") -> None:
        """When this pool leaves a primary for another one, the other pool cuts its connections to it."""
        self._connector.when_left.append(other._connector.leave)

    def bind(self, tables: Sequence[type[Table]]) -> None:
        """Let Piccolo's queries over these tables use this pool."""
        for table in tables:
            table._meta.db = self.engine

    async def open(self, *, size: int) -> None:
        """Open the pool in the running loop; it connects on first use, so Postgres may still be away."""
        # Idle connections stay open: the scheduler takes a new one of its own for a sign of a cut.
        await self.engine.start_connection_pool(min_size=0, max_size=size, max_inactive_connection_lifetime=0)

    async def close(self) -> None:
        """Close the pool, if it was opened."""
        if self.engine.pool is not None:
            await self.engine.close_connection_pool()

    async def run(self, sql: str | Statement, *values: Any, **named: Any) -> list[dict[str, Any]]:
        """Run one statement and return its rows.

        A `Statement` takes its values by name; in a plain text `{}` stands for a value. Raises
        ServerUnavailable, or asyncpg's own error for bad data and defects.
        """
        if isinstance(sql, Statement):
            text, values = sql.sql, tuple(sql.values(named))
        else:
            text = _numbered(sql)
        async with self.translated(), timeout(self.limit_s):
            return [dict(row) for row in await self.engine.fetch(text, values)]

    async def answered(self, query: Awaitable[T]) -> T:
        """Await one of Piccolo's own queries under the time limit. Raises ServerUnavailable."""
        async with self.translated(), asyncio.timeout(self.limit_s):
            return await query

    def transaction(self) -> Any:
        """A transaction without a time limit; statements inside use its connection by themselves."""
        return self.engine.transaction()

    @asynccontextmanager
    async def short_transaction(self) -> AsyncIterator[None]:
        """A transaction for a few short statements. Raises ServerUnavailable when it takes too long."""
        async with self.translated(), asyncio.timeout(self.limit_s), self.transaction():
            yield

    def in_transaction(self) -> bool:
        """True inside a transaction of this pool."""
        return self.engine.current_transaction.get() is not None

    async def connect(self, *, part: str = "") -> Connection:
        """A connection outside the pool and without time limits; the caller closes it.

        Raises ServerUnavailable.
        """
        return await self._connect(sessions.unlimited(self._session, part or self._session.part))

    async def _connect(self, session: Session) -> Connection:
        async with self.translated():
            return await self._connector.connect(session)

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Raise ServerUnavailable for every error that passes (see `sqlstate`)."""
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
            log.warning("%s: %s", self._session.part, unavailable)
        if isinstance(unavailable, ServerRefuses):
            self._refusal = time.monotonic(), str(unavailable)
            metrics.POSTGRES_REFUSALS.labels((unavailable.sqlstate or "")[:2]).inc()

    async def _reconnect(self) -> None:
        """Open new connections from now on."""
        if self.engine.pool is not None:
            await self.engine.pool.expire_connections()

    def recent_refusal(self) -> str | None:
        """Why Postgres refused a statement of this pool within the last seconds; None when it did not."""
        at, reason = self._refusal
        return reason if time.monotonic() - at < REFUSAL_MEMORY_S else None

    def now(self) -> datetime:
        """The database's time: this machine's clock, corrected by the last `note_time`."""
        return datetime.now(UTC) + self._offset

    def note_time(self, database_now: datetime) -> None:
        """Take the difference between this machine's clock and the database's."""
        self._offset = database_now - datetime.now(UTC)


def _is_of_a_former_primary(error: Exception, unavailable: ServerUnavailable) -> bool:
    """Whether the other connections of the pool are worthless too.

    One that was opened on a read-only server stays read-only, and one to a silent server stays silent.
    """
    if isinstance(unavailable, ServerRefuses):
        return unavailable.sqlstate == sqlstate.READ_ONLY
    return isinstance(error, TimeoutError)


async def in_fresh_context(work: Coroutine[Any, Any, T]) -> T:
    """Run work that may be tried again in a context of its own.

    Piccolo keeps a connection that was lost in a transaction set in its context forever.
    """
    return await asyncio.create_task(work, context=contextvars.Context())


@functools.cache
def _numbered(sql: str) -> str:
    """As the driver wants it: `$1` for the first `{}`, and `{` for `{{`."""
    numbers = itertools.count(1)
    parts = string.Formatter().parse(sql)
    return "".join(text if field is None else f"{text}${next(numbers)}" for text, field, _, _ in parts)
