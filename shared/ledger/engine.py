"""Connects Piccolo's tables to Postgres and translates the driver's errors at this one boundary."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from piccolo.engine.postgres import PostgresEngine
from piccolo.table import Table

from shared.errors import ServerAway
from shared.ledger.tables import TABLES, Task

#: The node whose pool belongs to the worker's ledger loop; task code uses the default node.
RECORDER: Final = "recorder"

#: How long one statement may take, waiting for a connection included, before Postgres counts as away.
STATEMENT_TIMEOUT_S = 5.0

AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)


def build(database_url: str, *, application: str, nodes: Sequence[str] = ()) -> PostgresEngine:
    """An engine with one more node for each event loop that needs a pool of its own. Connects to nothing yet."""
    config = {
        "dsn": database_url,
        "timeout": STATEMENT_TIMEOUT_S,
        "server_settings": {"application_name": f"often-{application}"},
    }
    extra = {node: PostgresEngine(config=dict(config), extensions=()) for node in nodes}
    return PostgresEngine(config=config, extensions=(), extra_nodes=extra)


def bind(engine: PostgresEngine, tables: Sequence[type[Table]] = TABLES) -> None:
    """Let these tables use this engine."""
    for table in tables:
        table._meta.db = engine


async def open_pool(engine: PostgresEngine, *, size: int) -> None:
    """Open the pool in the running loop; connections are made on first use, so Postgres may still be away."""
    await engine.start_connection_pool(min_size=0, max_size=size)


async def run(sql: str, *values: Any, node: str | None = None) -> list[dict[str, Any]]:
    """Run one statement; `{}` stands for a value. Raises ServerAway, or asyncpg's error for a bad statement."""
    with_driver = Task.raw(sql, *values)
    try:
        async with asyncio.timeout(STATEMENT_TIMEOUT_S):
            rows: list[dict[str, Any]] = await with_driver.run(node=node)
            return rows
    except AWAY as error:
        raise ServerAway("Postgres") from error


@asynccontextmanager
async def translated() -> AsyncIterator[None]:
    """Raise ServerAway where the driver says that Postgres is away; for Piccolo's own queries."""
    try:
        yield
    except AWAY as error:
        raise ServerAway("Postgres") from error
