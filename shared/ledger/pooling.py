"""Tells whether a pooler such as PgBouncer shares sessions between its clients.

Locks, settings and prepared statements belong to a session, so every connection needs one of its own.
"""

import asyncpg

ADVICE = "set pool_mode = session in PgBouncer, or name Postgres itself"

#: Through such a pooler a statement is prepared in one session and executed in another one.
STATEMENT_LOST = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
#: PgBouncer's words about BEGIN where it shares sessions between single statements.
NO_TRANSACTIONS = "statement pooling mode"


async def shares_sessions(one: asyncpg.Connection, other: asyncpg.Connection) -> bool:
    """Whether two open connections are in one session, or one of them in several; `other` is spoiled."""
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
