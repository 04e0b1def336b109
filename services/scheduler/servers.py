"""Exports whether Postgres and Redis answer. Every scheduler does this, leader or standby."""

from shared import probes
from shared.ledger.database import Database
from shared.telemetry import metrics
from shared.transport.queues import Queues

EVERY_S = 2.0


class Servers:
    """Probes both servers in each round."""

    def __init__(self, database: Database, queues: Queues) -> None:
        self._database = database
        self._queues = queues
        #: The last answers, by server.
        self.answers: dict[str, str] = {}

    async def run_once(self) -> None:
        self.answers = await probes.servers(self._database, self._queues)
        for server, answer in self.answers.items():
            metrics.SERVER_UP.labels(server).set(answer == "ok")
