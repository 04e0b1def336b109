"""Health probes of Postgres and Redis."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from shared.errors import ServerRefuses, ServerUnavailable
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.transport.queues import Queues

#: Time limit of one probe in seconds. Most supervisors consider a probe that takes longer as
#: failed.
TIMEOUT_S = 1.5
#: First word of a probe's result if the server did not answer.
AWAY = "away"


async def servers(database: Database, queues: Queues) -> dict[str, str]:
    """Probe Postgres and Redis. The result for each is `ok`, or a text that describes the
    problem.
    """
    postgres, redis = await asyncio.gather(_probe(_writable(database)), _probe(queues.generation()))
    if postgres == "ok" and (refusal := database.recent_refusal()):
        postgres = f"refuses writes: {refusal}"
    return {"postgres": postgres, "redis": redis}


async def storing(database: Database) -> str:
    """Check that tasks can be stored. Returns `ok`, or a text that says why not although Postgres
    answers.
    """
    return await _probe(_has_today(database))


async def _has_today(database: Database) -> None:
    """Raise ServerRefuses if a table has no partition for today."""
    if rows := await database.run(partitions.MISSING_TODAY):
        raise ServerRefuses("Postgres", partitions.missing(rows[0]["name"]))


async def _writable(database: Database) -> None:
    """Raise ServerRefuses if the database is read-only, because it is a standby or was configured
    so.
    """
    (row,) = await database.run("SELECT current_setting('transaction_read_only')::bool AS read_only")
    if row["read_only"]:
        raise ServerRefuses("Postgres", "it is read-only")


async def _probe(answer: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(answer, TIMEOUT_S)
    except ServerRefuses as error:
        return f"refuses: {error}"
    except ServerUnavailable as error:
        return f"{AWAY}: {error}"
    except TimeoutError:
        return f"{AWAY}: no answer within {TIMEOUT_S:g} s"
    return "ok"
