"""A client of the API for the drill that measures how long each of its requests takes."""

import asyncio
import secrets
import threading
import time
from typing import Self
from uuid import UUID

from often_client import ApiAway, ApiError, Client
from tests.drill.customers import PASSWORD

PAUSE_S = 0.02


class Stopwatch:
    """A thread that submits one task after another with the project's Python client. It does not
    repeat requests that fail.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stopwatch", daemon=True)
        #: Duration of each request in seconds.
        self.took_s: list[float] = []
        self.failed = 0
        self.ids: list[UUID] = []

    async def __aenter__(self) -> Self:
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.to_thread(self._thread.join, 60)

    def _run(self) -> None:
        with Client(self._url) as client:
            email = f"{secrets.token_hex(8)}@often.example"
            client.register(email, PASSWORD)
            client.sign_in(email, PASSWORD)
            while not self._stop.wait(PAUSE_S):
                begun = time.monotonic()
                try:
                    self.ids.append(client.submit("system.health_check", {}))
                except (ApiAway, ApiError):
                    self.failed += 1
                self.took_s.append(time.monotonic() - begun)
