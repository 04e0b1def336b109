"""Checks whether this release can work with the database.

It checks the version of Postgres, the connection pooler and the migrations. A database that does
not fit is checked again until it does, because a migration may be about to run.
"""

from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack

import asyncpg
from piccolo.engine.postgres import PostgresEngine

from shared.errors import UnfitDatabase
from shared.ledger import pooling
from shared.ledger.database import Database

#: The first major version of Postgres that has the function `uuidv7()`.
MIN_VERSION = 18

VERSION = "SELECT current_setting('server_version_num')::int / 10000 AS major"
#: Reads whether this service may read the records of migrations. If it may not, no migration has
#: finished, because granting the rights is its last step.
HAS_RECORDS = """
    SELECT coalesce(has_table_privilege(to_regclass('migration'), 'SELECT'), false) AS has_records
"""
RECORDS = "SELECT app_name, name FROM migration"


class SchemaCheck:
    """Checks whether this release can work with the database, until the first success.

    A schema that is newer than this release is accepted.
    """

    def __init__(self, database: Database, needed: Mapping[str, Iterable[str]]) -> None:
        """`needed` contains the ids of the migrations that this release needs, by Piccolo app."""
        self._database, self._needed = database, needed
        self._passed = False
        #: Why this release cannot work with the database. None if it can, or if this has not been
        #: checked yet.
        self.problem: UnfitDatabase | None = None

    async def require(self) -> None:
        """Raise UnfitDatabase if this release cannot work with the database, or ServerUnavailable
        if Postgres is unavailable.
        """
        if self._passed:
            return
        try:
            async with self._database.translated():
                await check_server(self._database.engine)
                await self._check_migrations()
        except UnfitDatabase as error:
            self.problem = error
            raise
        self._passed, self.problem = True, None

    async def _check_migrations(self) -> None:
        (row,) = await self._database.run(HAS_RECORDS)
        rows = await self._database.run(RECORDS) if row["has_records"] else []
        ran = {(row["app_name"], row["name"]) for row in rows}
        needed = [(app, name) for app, names in self._needed.items() for name in names]
        if missing := [f"{app} {name}" for app, name in needed if (app, name) not in ran]:
            raise UnfitDatabase(_not_migrated(missing, empty=not ran))


async def check_server(engine: PostgresEngine) -> None:
    """Raise UnfitDatabase if Postgres is too old, or if a pooler shares sessions of clients."""
    async with AsyncExitStack() as opened:
        one, other = [await _connected(engine, opened) for _ in range(2)]
        major = await one.fetchval(VERSION)
        if major < MIN_VERSION:
            raise UnfitDatabase(f"it is PostgreSQL {major}; use PostgreSQL {MIN_VERSION} or newer")
        if await pooling.shares_sessions(one, other):
            raise UnfitDatabase(f"it is reached through a pool that shares sessions; {pooling.ADVICE}")


async def _connected(engine: PostgresEngine, opened: AsyncExitStack) -> asyncpg.Connection:
    connection = await engine.get_new_connection()
    opened.push_async_callback(connection.close)
    return connection


def _not_migrated(missing: list[str], *, empty: bool) -> str:
    state = "it is empty" if empty else "it is older than this release"
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{state}: migration {missing[0]}{more} did not run; run `make migrate`"
