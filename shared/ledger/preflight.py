"""Checks, before a process starts, whether DATABASE_URL can work."""

import asyncio
import logging

import asyncpg

from shared.errors import ServerUnavailable, SettingsError
from shared.ledger import pooling
from shared.ledger.database import Database
from shared.ledger.session import Connection

log = logging.getLogger(__name__)

#: Maximum time in seconds by which a Postgres that does not answer delays the start of a process.
LIMIT_S = 5.0
POOLED = (
    "leads to a pooler that shares sessions between its clients, but every process needs a session pool: "
    f"{pooling.ADVICE}"
)


def check(database_url: str) -> None:
    """Raise SettingsError if this DATABASE_URL can never work.

    If Postgres is unavailable or refuses temporarily, this is logged and the process starts anyway.
    """
    asyncio.run(_check(database_url))


async def _check(database_url: str) -> None:
    database = Database.for_service(database_url, "start")
    opened: list[Connection] = []
    try:
        async with database.translated(), asyncio.timeout(LIMIT_S):
            opened.append(await database.connect())
            opened.append(await database.connect())
            if await pooling.shares_sessions(*opened):
                raise SettingsError(f"DATABASE_URL {POOLED}")
    except ServerUnavailable as error:
        log.warning("starting without Postgres: %s", error)
    except asyncpg.PostgresError as error:
        raise SettingsError(f"DATABASE_URL is refused by Postgres: {error}") from error
    finally:
        for connection in opened:
            connection.terminate()
