"""Tells Prometheus whether Postgres and Redis answer. Every scheduler does, whether it leads or not."""

from shared import probes
from shared.telemetry import metrics
from shared.transport.queues import Queues

EVERY_S = 2.0


class Servers:
    """Looks again and again."""

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        #: The last answers, by server.
        self.answers: dict[str, str] = {}

    async def run_once(self) -> None:
        self.answers = await probes.servers(self._queues)
        for server, answer in self.answers.items():
            metrics.SERVER_UP.labels(server).set(answer == "ok")
