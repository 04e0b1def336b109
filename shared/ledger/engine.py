"""Connects Piccolo's tables to Postgres and translates the driver's errors at this one boundary."""

import asyncio
import contextvars
import functools
import itertools
import string
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from shared.errors import ServerRefuses
from shared.ledger import sqlstate
from shared.ledger.tables import TABLES, Task
from shared.telemetry import metrics

T = TypeVar("T")

#: The node whose pool belongs to the worker's ledger loop; task code uses the default node.
RECORDER: Final = "recorder"

#: How long one statement may take, waiting for a connection included, before Postgres counts as away.
STATEMENT_TIMEOUT_S = 5.0
#: The same in the bodies of tasks.
TASK_STATEMENT_TIMEOUT_S = 60.0
#: Postgres itself cancels a statement this much earlier. A server that answers therefore says that it was
#: slow, and no statement that its client gave up keeps running.
SERVER_MARGIN_S = 0.5
#: How often a time-out looks whether the loop still runs.
TICK_S = 0.5

#: Statements of the recorder and of the scheduler find their rows by id or by place. What Postgres knows of
#: a new day is that it is empty: until it looks again it would read whole partitions. With that settled there
#: is one plan for each, which need not be made anew each time: for a claim over many partitions that takes
#: longer than the claim.
BY_INDEX = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}


class Connection(asyncpg.Connection):  # type: ignore[misc] # asyncpg is not typed
    """Comes back to its pool without a round trip that resets it: our own statements leave nothing behind."""

    def get_reset_query(self) -> str:
        """Open transactions are rolled back all the same."""
        return ""


class RecorderConnection(Connection):
    """A statement that is given up takes its connection with it.

    To have it cancelled would mean to wait for the same Postgres once more. The recorder's statements may be
    carried out late: the claim's number guards them.
    """

    def _cancel_current_command(self, *_: object) -> None:
        self.terminate()


class Engine(PostgresEngine):
    """An engine that may be built while Postgres is away: Piccolo's own asks for the version at once."""

    async def check_version(self) -> None:
        """Left to the migrations, which need `uuidv7()` and so PostgreSQL 18."""


def build(
    database_url: str,
    *,
    application: str,
    nodes: Sequence[str] = (),
    for_task_code: bool = False,
    by_index: bool = False,
) -> PostgresEngine:
    """An engine, with a node for each further event loop that needs its own pool. Connects to nothing yet.

    The default node is the process' own, or task code's, which may take longer and leave things behind. With
    `by_index` its statements are planned as those of the further nodes.
    """
    session = session_settings(application, STATEMENT_TIMEOUT_S)
    config = {
        "dsn": database_url,
        "timeout": STATEMENT_TIMEOUT_S,
        # Bounds also what the driver does by itself: without it the cancelling of a statement waits for ever
        # on a connection whose other end has vanished.
        "command_timeout": STATEMENT_TIMEOUT_S,
        "connection_class": Connection,
        "server_settings": session,
    }
    # The driver's own time-outs go on while the loop can't run; see `timeout`.
    longest = {"timeout": TASK_STATEMENT_TIMEOUT_S, "command_timeout": TASK_STATEMENT_TIMEOUT_S}
    planned = {"server_settings": session | BY_INDEX}
    apart = config | longest | planned | {"connection_class": RecorderConnection}
    extra = {node: Engine(config=dict(apart), extensions=()) for node in nodes}
    if by_index:
        config |= planned
    if for_task_code:
        config |= {
            "command_timeout": TASK_STATEMENT_TIMEOUT_S,
            "connection_class": asyncpg.Connection,
            "server_settings": session_settings(application, TASK_STATEMENT_TIMEOUT_S),
        }
    return Engine(config=config, extensions=(), extra_nodes=extra)


def session_settings(application: str, statement_timeout_s: float) -> dict[str, str]:
    """What the code relies on in every session, whatever the database or the role has as its default.

    With `statement_timeout_s` of 0 statements may take as long as they like.
    """
    limit_s = max(0.0, statement_timeout_s - SERVER_MARGIN_S) if statement_timeout_s else 0.0
    return {
        "application_name": f"often-{application}",
        "default_transaction_isolation": "read committed",
        "statement_timeout": f"{limit_s * 1000:.0f}",
        "lock_timeout": "0",
    }


#: The last refusal of this process and when it happened. A full disk shows in writes only, so a health check
#: has to remember what the last write met.
_refusals: deque[tuple[float, str]] = deque(maxlen=1)
REFUSAL_MEMORY_S = 5.0


def recent_refusal() -> str | None:
    """Why Postgres refused a statement of this process within the last seconds; None when it did not."""
    for at, reason in _refusals:
        if time.monotonic() - at < REFUSAL_MEMORY_S:
            return reason
    return None


def bind(engine: PostgresEngine, tables: Sequence[type[Table]] = TABLES) -> None:
    """Let these tables use this engine."""
    for table in tables:
        table._meta.db = engine


async def open_pool(engine: PostgresEngine, *, size: int) -> None:
    """Open the pool in the running loop; it connects on first use, so Postgres may still be away."""
    await engine.start_connection_pool(min_size=0, max_size=size)


@asynccontextmanager
async def timeout(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError after this much of the loop's own time.

    A body that keeps the interpreter for a second at a time lets this loop run in rare moments only, and a
    statement needs several of them: Postgres is not away because of that.
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


async def run(sql: str, *values: Any, node: str | None = None) -> list[dict[str, Any]]:
    """Run one statement; `{}` stands for a value. Raises ServerUnavailable, or asyncpg's own error."""
    bound: Any = Task._meta.db
    database = bound.extra_nodes[node] if node else bound
    async with translated(), timeout(STATEMENT_TIMEOUT_S):
        return [dict(row) for row in await _fetch(database, _numbered(sql), values)]


async def _fetch(database: Any, sql: str, values: Sequence[Any]) -> list[Any]:
    """On Piccolo's connections, past its query builder: that costs as much as a short statement."""
    transaction = database.current_transaction.get()
    if transaction is not None:
        return list(await transaction.connection.fetch(sql, *values))
    if database.pool is None:  # a command that is done after a statement or two
        connection = await database.get_new_connection()
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()
    async with database.pool.acquire() as connection:
        return list(await connection.fetch(sql, *values))


@functools.cache
def _numbered(sql: str) -> str:
    """As the driver wants it: `$1` for the first `{}`, and `{` for `{{`."""
    numbers = itertools.count(1)
    parts = string.Formatter().parse(sql)
    return "".join(text if field is None else f"{text}${next(numbers)}" for text, field, _, _ in parts)


async def connect() -> asyncpg.Connection:
    """A connection of the caller's own, for statements that no transaction takes; he closes it.

    Raises ServerUnavailable.
    """
    database: Any = Task._meta.db
    settings = {**database.config["server_settings"], "statement_timeout": "0"}
    async with translated():
        return await asyncpg.connect(
            **database.config | {"command_timeout": None, "server_settings": settings}
        )


def transaction(node: str | None = None) -> Any:
    """A transaction on a node; statements in it go to its connection by themselves."""
    database: Any = Task._meta.db
    return (database.extra_nodes[node] if node else database).transaction()


async def in_fresh_context(work: Coroutine[Any, Any, T]) -> T:
    """Run what may be tried again: a connection lost in a transaction stays set in its context for ever."""
    return await asyncio.create_task(work, context=contextvars.Context())


def in_transaction() -> bool:
    """True inside a transaction of the default node."""
    database: Any = Task._meta.db
    return database.current_transaction.get() is not None


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise ServerUnavailable for every error that passes (see `sqlstate`); for Piccolo's own queries."""
    try:
        yield
    except Exception as error:
        translated_error = sqlstate.unavailable(error)
        if translated_error is None:
            raise
        if isinstance(translated_error, ServerRefuses):
            _refusals.append((time.monotonic(), str(translated_error)))
            metrics.POSTGRES_REFUSALS.labels((translated_error.sqlstate or "")[:2]).inc()
        raise translated_error from error
