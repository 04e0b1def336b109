"""Tells Prometheus whether Postgres and Redis answer. Every scheduler does, whether it leads or not."""

import logging

from shared import probes
from shared.telemetry import metrics
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

EVERY_S = 2.0


class Servers:
    """Looks again and again."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues

    async def run_once(self) -> None:
        try:
            answers = await probes.servers(self._queues)
        except Exception:
            log.exception("the servers could not be asked")  # no reason to stop leading
            return
        for server, answer in answers.items():
            metrics.SERVER_UP.labels(server).set(answer == "ok")
