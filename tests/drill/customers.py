"""A client of the API that keeps submitting batches of tasks, whatever breaks. Each batch has an
idempotency key of its own.
"""

import asyncio
import secrets
import threading
import time
from typing import Self
from uuid import UUID, uuid4

from often_client import ApiAway, ApiError, Client
from tests.drill.client_log import ClientLog

BATCH = 5
PAUSE_S = 0.1
AGAIN_S = 0.2
FINISH_S = 120.0
PASSWORD = "a horse, a battery"


class Customers:
    """A thread that submits batches with the project's Python client. It repeats each request under
    the same idempotency key until it receives the ids of the tasks.
    """

    def __init__(self, url: str, log: ClientLog) -> None:
        self._url = url
        self._log = log
        self._stop = threading.Event()
        #: Lock that is held during each submission. A fault that acquires it pauses this client.
        self.submitting = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="customers", daemon=True)
        self.ids: list[UUID] = []
        #: Number of answers with status 503, number of answers with another 5xx status, and number
        #: of requests without an answer.
        self.refused = self.wrong = self.unanswered = 0

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the answer to the last request. The event loop keeps running meanwhile, because
        the API may have to be restarted.
        """
        self._stop.set()
        await asyncio.to_thread(self._thread.join, FINISH_S)
        assert not self._thread.is_alive(), f"the API took no batch for {FINISH_S:g} s"

    def _run(self) -> None:
        with Client(self._url) as client:
            email = f"{secrets.token_hex(8)}@often.example"
            with self.submitting:
                client.register(email, PASSWORD)
                client.sign_in(email, PASSWORD)
            while not self._stop.wait(PAUSE_S):
                with self.submitting:
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
