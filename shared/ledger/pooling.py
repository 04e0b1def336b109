"""Detects a pooler, such as PgBouncer, that shares Postgres sessions between clients.

Every connection of this platform needs a session of its own, because locks, settings and prepared
statements belong to a session.
"""

import asyncpg

ADVICE = "set pool_mode = session in PgBouncer, or name Postgres itself"

#: Errors that occur if a pooler prepares a statement in one session and executes it in another.
STATEMENT_LOST = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
#: Part of PgBouncer's error for BEGIN if clients share its sessions statement by statement.
NO_TRANSACTIONS = "statement pooling mode"


async def shares_sessions(one: asyncpg.Connection, other: asyncpg.Connection) -> bool:
    """True if two open connections share a session, or if one of them uses several sessions.

    The connection `other` cannot be used afterwards.
    """
    try:
        before = await _session(one)
        await other.execute("BEGIN")
        return bool(before == await _session(other) or before != await _session(one))
    except STATEMENT_LOST:
        return True
    except asyncpg.PostgresConnectionError as error:
        if NO_TRANSACTIONS in str(error):
            return True
        raise


async def _session(connection: asyncpg.Connection) -> int:
    return int(await connection.fetchval("SELECT pg_backend_pid()"))
