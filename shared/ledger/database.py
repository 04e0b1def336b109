"""Connections to Postgres: one `Database` for each pool, made in a service's `__main__` and passed on.

It runs statements under a time limit of its own and of the server's, and translates the driver's errors at
this one boundary (see `sqlstate`).
"""

import asyncio
import contextvars
import functools
import itertools
import string
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from shared.errors import ServerRefuses
from shared.ledger import sqlstate
from shared.ledger.statement import Statement
from shared.telemetry import metrics

T = TypeVar("T")

#: How long one statement may take, waiting for a connection included, before Postgres counts as away.
STATEMENT_TIMEOUT_S = 5.0
#: The same in the bodies of tasks.
TASK_STATEMENT_TIMEOUT_S = 60.0
#: Postgres itself cancels a statement this much earlier. A server that answers therefore says that it was
#: slow, and no statement that its client gave up keeps running.
SERVER_MARGIN_S = 0.5
#: Step in which a time-out counts down; see `timeout`.
TICK_S = 0.5
#: A health check remembers this long what the last statement met: a full disk shows in writes only.
REFUSAL_MEMORY_S = 5.0

#: Statements of the recorder and of the scheduler find their rows by id or by place. Postgres takes a new day
#: for empty until it analyzes it, and would read whole partitions. One generic plan for each statement is
#: also cheaper: planning a claim over many partitions takes longer than running it.
#: Rows that are given by sorted ids are also locked in that order. A bitmap scan locks them in the order of
#: the disk, and two statements over the same rows would wait for each other.
BY_INDEX = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is not typed
    """Returns to its pool without a round trip that resets it: our own statements leave nothing behind."""

    def get_reset_query(self) -> str:
        """Open transactions are rolled back all the same."""
        return ""


class RecorderConnection(Connection):
    """Closes when a statement is given up, instead of asking the same Postgres to cancel it.

    Postgres cancels the statement by its own time limit. If it still commits, the claim's number guards it.
    """

    def _cancel_current_command(self, *_: object) -> None:
        self.terminate()


class _Engine(PostgresEngine):
    """An engine that can be built while Postgres is away: Piccolo's own asks for the version at once."""

    async def check_version(self) -> None:
        """Left to the migrations, which need `uuidv7()` and therefore PostgreSQL 18."""


class Database:
    """One pool of connections, for one event loop. Building it connects to nothing."""

    def __init__(
        self, url: str, session: dict[str, str], *, limit_s: float = STATEMENT_TIMEOUT_S, **options: Any
    ) -> None:
        """`session` holds settings of each connection, `options` what else asyncpg takes.

        A statement may take `limit_s` seconds, waiting for a connection included.
        """
        self.limit_s = limit_s
        self.engine = _Engine(config={"dsn": url, "server_settings": session, **options}, extensions=())
        self._config = self.engine.config
        self._offset = timedelta(0)
        self._refusal: tuple[float, str] = (float("-inf"), "")

    @classmethod
    def for_service(cls, url: str, application: str, *, by_index: bool = False) -> Self:
        """For a process' own short statements."""
        session = session_settings(application, STATEMENT_TIMEOUT_S)
        return cls(
            url,
            session | BY_INDEX if by_index else session,
            timeout=STATEMENT_TIMEOUT_S,
            # Bounds what the driver does by itself: otherwise canceling a statement waits forever on a
            # connection whose other end has vanished.
            command_timeout=STATEMENT_TIMEOUT_S,
            connection_class=Connection,
        )

    @classmethod
    def for_recorder(cls, url: str, application: str) -> Self:
        """For the ledger loop of a worker, which bodies may keep from running for seconds."""
        return cls(
            url,
            session_settings(application, STATEMENT_TIMEOUT_S) | BY_INDEX,
            # The driver's own time-outs go on while the loop cannot run; see `timeout`.
            timeout=TASK_STATEMENT_TIMEOUT_S,
            command_timeout=TASK_STATEMENT_TIMEOUT_S,
            connection_class=RecorderConnection,
        )

    @classmethod
    def for_tasks(cls, url: str, application: str) -> Self:
        """For the bodies of tasks, whose statements may take longer and leave session state behind."""
        return cls(
            url,
            session_settings(application, TASK_STATEMENT_TIMEOUT_S),
            limit_s=TASK_STATEMENT_TIMEOUT_S,
            timeout=STATEMENT_TIMEOUT_S,
            command_timeout=TASK_STATEMENT_TIMEOUT_S,
        )

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
            return [dict(row) for row in await self._fetch(text, values)]

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """Past Piccolo's query builder, which costs as much as a short statement."""
        engine = self.engine
        transaction = engine.current_transaction.get()
        if transaction is not None:
            return list(await transaction.connection.fetch(sql, *values))
        if engine.pool is None:  # a command that is done after a statement or two
            connection = await engine.get_new_connection()
            try:
                return list(await connection.fetch(sql, *values))
            finally:
                await connection.close()
        async with engine.pool.acquire() as connection:
            try:
                return list(await connection.fetch(sql, *values))
            except (asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
                # The driver has lost track of this connection; another one has not.
                if not isinstance(error, ValueError):
                    connection.terminate()
                raise

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

    async def connect(self, *, application: str = "") -> asyncpg.Connection:
        """A connection outside the pool and without time limits; the caller closes it.

        Raises ServerUnavailable.
        """
        session = {**self._config["server_settings"], "statement_timeout": "0", "tcp_keepalives_idle": "10"}
        if application:
            session["application_name"] = f"often-{application}"
        async with self.translated():
            config = self._config | {"command_timeout": None, "server_settings": session}
            return await asyncpg.connect(**config)

    @asynccontextmanager
    async def translated(self) -> AsyncIterator[None]:
        """Raise ServerUnavailable for every error that passes (see `sqlstate`)."""
        try:
            yield
        except Exception as error:
            unavailable = sqlstate.unavailable(error)
            if unavailable is None:
                raise
            if isinstance(unavailable, ServerRefuses):
                if unavailable.sqlstate == sqlstate.READ_ONLY:
                    await self._reconnect()
                self._refusal = time.monotonic(), str(unavailable)
                metrics.POSTGRES_REFUSALS.labels((unavailable.sqlstate or "")[:2]).inc()
            raise unavailable from error

    async def _reconnect(self) -> None:
        """Open new connections from now on: one that was opened on a read-only server stays read-only."""
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


def session_settings(application: str, statement_timeout_s: float) -> dict[str, str]:
    """What the code relies on in every session, whatever the database or the role has as its default.

    With `statement_timeout_s` of 0 statements may take as long as they like.
    """
    limit_s = max(0.0, statement_timeout_s - SERVER_MARGIN_S)
    return {
        "application_name": f"often-{application}",
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{limit_s * 1000:.0f}",
        "lock_timeout": "0",
    }


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after this much of the loop's own time.

    A body that keeps the interpreter for a second at a time lets this loop run in rare moments only, and a
    statement needs several of them. That does not mean that Postgres is away.
    """
    loop = asyncio.get_running_loop()
    scope = asyncio.timeout(None)
    handle: asyncio.TimerHandle

    def tick(left: float) -> None:
        nonlocal handle
        if left > 0:
            handle = loop.call_later(TICK_S, tick, left - TICK_S)
        else:
            scope.reschedule(loop.time())

    tick(seconds)
    try:
        async with scope:
            yield
    finally:
        handle.cancel()


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
