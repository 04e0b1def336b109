"""Looks whether Postgres and Redis answer. Every scheduler does, whether it leads or not."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from shared.errors import ServerAway
from shared.ledger import engine
from shared.telemetry import metrics
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

EVERY_S = 2.0
#: Longer than any answer takes that is worth waiting for.
TIMEOUT_S = 1.5


class Servers:
    """Tells Prometheus which of them are up."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def run_once(self) -> None:
        postgres, redis = await asyncio.gather(
            _answers(engine.run("SELECT 1 AS one")), _answers(self._queues.generation())
        )
        metrics.SERVER_UP.labels("postgres").set(postgres)
        metrics.SERVER_UP.labels("redis").set(redis)


async def _answers(question: Awaitable[Any]) -> bool:
    try:
        await asyncio.wait_for(question, TIMEOUT_S)
    except (ServerAway, TimeoutError):
        return False
    except Exception:
        log.exception("whether a server answers is not known")  # and no reason to stop leading
        return False
    return True
