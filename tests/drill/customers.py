"""Clients of the API who go on submitting whatever breaks, each batch under a key of its own."""

import asyncio
import secrets
import threading
import time
from typing import Self
from uuid import UUID, uuid4

from cli.client import ApiAway, ApiError, Client
from tests.drill.client_log import ClientLog

BATCH = 5
PAUSE_S = 0.1
AGAIN_S = 0.2
FINISH_S = 120.0
PASSWORD = "a horse, a battery"


class Customers:
    """One thread with the real client. Asks again under the same key until it was told the ids."""

    def __init__(self, url: str, log: ClientLog) -> None:
        self._url = url
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="customers", daemon=True)
        self.ids: list[UUID] = []
        #: Answers that said 503, answers with another 5xx, and requests without any answer.
        self.refused = self.wrong = self.unanswered = 0

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """The last batch is answered by then. The loop goes on, so that somebody can start the API again."""
        self._stop.set()
        await asyncio.to_thread(self._thread.join, FINISH_S)
        assert not self._thread.is_alive(), f"the API took no batch for {FINISH_S:g} s"

    def _run(self) -> None:
        with Client(self._url) as client:
            email = f"{secrets.token_hex(8)}@often.example"
            client.register(email, PASSWORD)
            client.sign_in(email, PASSWORD)
            while not self._stop.wait(PAUSE_S):
                self.ids += self._submitted(client, str(uuid4()))

    def _submitted(self, client: Client, key: str) -> list[UUID]:
        tasks = [{"name": "system.health_check", "params": {}}] * BATCH
        self._log.asks(key, BATCH)
        while True:
            try:
                ids = client.submit_batch(tasks, key=key)
            except ApiAway:
                self.unanswered += 1
            except ApiError as error:
                if error.problem.status < 500:
                    raise
                if error.problem.status == 503:
                    self.refused += 1
                else:
                    self.wrong += 1
            else:
                self._log.was_told(key, ids)
                return ids
            time.sleep(AGAIN_S)
