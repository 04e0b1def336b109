"""Asks the servers whether they answer."""

import asyncio
from collections.abc import Awaitable
from typing import Any

from shared.errors import ServerAway
from shared.ledger import engine
from shared.transport.queues import Queues

#: A probe that waits longer is itself counted as failed by most supervisors.
TIMEOUT_S = 1.5


async def servers(queues: Queues) -> dict[str, str]:
    """ok or away, by server."""
    postgres, redis = await asyncio.gather(_probe(engine.run("SELECT 1 AS one")), _probe(queues.generation()))
    return {"postgres": postgres, "redis": redis}


async def _probe(answer: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(answer, TIMEOUT_S)
    except (ServerAway, TimeoutError):
        return "away"
    return "ok"
