"""Asks the servers whether they answer."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.transport.queues import Queues

#: A probe that waits longer is itself counted as failed by most supervisors.
TIMEOUT_S = 1.5


async def servers(database: Database, queues: Queues) -> dict[str, str]:
    """`ok`, or in words what is wrong, by server."""
    postgres, redis = await asyncio.gather(_probe(_writable(database)), _probe(queues.generation()))
    if postgres == "ok" and (refusal := database.recent_refusal()):
        postgres = f"refuses writes: {refusal}"
    return {"postgres": postgres, "redis": redis}


async def storing(database: Database) -> str:
    """`ok`, or in words why no task can be stored although Postgres serves us."""
    return await _probe(_has_today(database))


async def _has_today(database: Database) -> None:
    """Raises ServerRefuses when a partition of today is missing."""
    if rows := await database.run(partitions.MISSING_TODAY):
        raise ServerRefuses("Postgres", partitions.missing(rows[0]["name"]))


async def _writable(database: Database) -> None:
    """Raises ServerRefuses for a standby and for a database that was set read-only."""
    (row,) = await database.run("SELECT current_setting('transaction_read_only')::bool AS read_only")
    if row["read_only"]:
        raise ServerRefuses("Postgres", "it is read-only")


async def _probe(answer: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(answer, TIMEOUT_S)
    except ServerRefuses as error:
        return f"refuses: {error}"
    except ServerUnavailable as error:
        return f"away: {error}"
    except TimeoutError:
        return f"away: no answer within {TIMEOUT_S:g} s"
    return "ok"
