"""Gives the drill access to the database of a scenario, as an operator has it. The drill's own
sessions ignore the settings that a fault changes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlencode

import asyncpg

from local.postgres import SUPERUSER
from shared.errors import ServerUnavailable
from tests.roles import as_role

#: Errors that a statement raises while Postgres is unavailable or refuses it. The caller repeats
#: the statement.
PASSING = (ServerUnavailable, asyncpg.PostgresError)
#: Settings of the drill's own sessions. They override the settings of the database, so that the
#: drill can always work.
UNAFFECTED = {
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "lock_timeout": "0",
    "statement_timeout": "0",
}
#: SQL condition that matches the sessions of the services, but not those of the drill itself
#: (`often-test`).
OF_SERVICES = "datname = $1 AND application_name LIKE 'often-%' AND application_name <> 'often-test'"
CANCEL = f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {OF_SERVICES} AND state = 'active'"
#: SQL statements that take locks: on the whole table of tasks, or on some of its rows.
WHOLE_TABLE = "LOCK TABLE task IN ACCESS EXCLUSIVE MODE"
ROWS = "SELECT 1 FROM task WHERE holder IS NOT NULL OR sent_at IS NOT NULL ORDER BY id LIMIT 500 FOR UPDATE"


def unaffected(url: str) -> str:
    """The URL of a database, extended by the settings of the drill's own sessions."""
    options = " ".join(f"-c {name}={value!r}" for name, value in UNAFFECTED.items())
    return f"{url}?{urlencode({'options': options}, quote_via=quote)}"


class Database:
    """Changes the settings of one database, and ends or cancels the sessions of the services."""

    def __init__(self, url: str) -> None:
        self._url = as_role(url, SUPERUSER)
        self._server, _, self.name = self._url.rpartition("/")

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[asyncpg.Connection]:
        """Opens a session in the scenario's database inside this context."""
        connection = await asyncpg.connect(self._url, server_settings=UNAFFECTED)
        try:
            yield connection
        finally:
            await connection.close(timeout=5)

    @asynccontextmanager
    async def setting(self, name: str, value: str, *, cut: bool) -> AsyncIterator[None]:
        """Change a default setting of the database inside this context. It applies to new sessions.
        With `cut`, the services' sessions are ended before and after.
        """
        try:
            await self._outside(f"ALTER DATABASE {self.name} SET {name} = '{value}'")
            if cut:
                await self.cut()
            yield
        finally:
            await self._outside(f"ALTER DATABASE {self.name} RESET {name}")
            if cut:
                await self.cut()

    async def cut(self) -> None:
        """End every session of the services."""
        await self._outside(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OF_SERVICES}", self.name
        )

    async def backends(self) -> int:
        """Number of open sessions of the services."""
        found = await self._outside(f"SELECT count(*) FROM pg_stat_activity WHERE {OF_SERVICES}", self.name)
        return int(found[0][0])

    async def cancel(self, connection: asyncpg.Connection) -> None:
        """Cancel every statement that the services are running."""
        await connection.fetch(CANCEL, self.name)

    @asynccontextmanager
    async def held(self, lock: str) -> AsyncIterator[None]:
        """Hold locks in a separate session inside this context. If taking them causes a deadlock,
        it is tried again.
        """
        async with self.connected() as connection:
            while True:
                transaction = connection.transaction()
                await transaction.start()
                try:
                    await connection.execute(lock)
                except asyncpg.DeadlockDetectedError:
                    await transaction.rollback()
                    continue
                break
            yield
            await transaction.rollback()

    async def _outside(self, sql: str, *values: Any) -> list[Any]:
        """Run a statement in the database `postgres`, because the scenario's own database may
        refuse sessions or writes.
        """
        connection = await asyncpg.connect(f"{self._server}/postgres")
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close(timeout=5)
