"""Exports to Prometheus whether Postgres and Redis answer.

Every scheduler does this, whether it leads or stands by.
"""

from shared import probes
from shared.ledger.database import Database
from shared.telemetry import metrics
from shared.transport.queues import Queues

EVERY_S = 2.0


class Servers:
    """Probes Postgres and Redis in each round."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues
        #: The latest result of probing each server, by the server's name.
        self.answers: dict[str, str] = {}

    async def run_once(self) -> None:
        self.answers = await probes.servers(self._database, self._queues)
        for server, answer in self.answers.items():
            # A server that refuses the probe counts as up, because it has answered. Refusals are
            # counted by another metric, with their reason.
            metrics.SERVER_UP.labels(server).set(not answer.startswith(probes.AWAY))
