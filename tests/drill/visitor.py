"""A simple client of the API for the drill. It has no retries of its own, so it sees each answer of
the API, and notes when a task was accepted.
"""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from typing import Self
from uuid import UUID, uuid4

import httpx

from tests.drill.client_log import ClientLog
from tests.drill.customers import FINISH_S, PASSWORD

PAUSE_S = 0.5
AGAIN_S = 0.2
TIMEOUT_S = 10.0
TASK = {"name": "system.health_check", "params": {}}


class Visitor:
    """Submits a task twice a second. Each submission is repeated until it is accepted."""

    def __init__(self, url: str, log: ClientLog) -> None:
        self._log = log
        self._http = httpx.AsyncClient(base_url=f"{url}/api/v1/", trust_env=False, timeout=TIMEOUT_S)
        self._login = {"email": f"{secrets.token_hex(8)}@often.example", "password": PASSWORD}
        self._ready = f"{url}/health/ready"
        self._stop = asyncio.Event()
        #: Lock that is held during each submission. A fault that acquires it pauses this client.
        self.submitting = asyncio.Lock()
        self._running: asyncio.Task[None] | None = None
        #: Counts answers that the API must never give: a 5xx status other than 503, or a 503
        #: without Retry-After.
        self.wrong: Counter[str] = Counter()
        #: When the newest accepted request was sent, on the monotonic clock.
        self.accepted_at = 0.0

    async def __aenter__(self) -> Self:
        (await self._http.post("auth/register", json=self._login)).raise_for_status()
        await self._sign_in()
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait until the last task is accepted. Otherwise, a task could be stored whose id is
        missing in the log of the clients.
        """
        assert self._running is not None
        self._stop.set()
        await asyncio.wait_for(self._running, FINISH_S)
        await self._http.aclose()

    async def is_ready(self) -> bool:
        try:
            return (await self._http.get(self._ready)).is_success
        except httpx.TransportError:
            return False

    def has_accepted_since(self, moment: float) -> bool:
        """Whether a request that was sent after `moment` was accepted."""
        assert self._running is not None
        assert not self._running.done(), self._running
        return self.accepted_at > moment

    async def _run(self) -> None:
        while not self._stop.is_set():
            async with self.submitting:
                await self._submit(str(uuid4()))
            await asyncio.sleep(PAUSE_S)

    async def _sign_in(self) -> None:
        """Sign in and remember the access token. If no answer arrives, the next submission fails
        with 401 and signs in again.
        """
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.post("auth/login", json=self._login)
            if answer.is_success:
                self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    async def _submit(self, key: str) -> None:
        self._log.asks(key, 1)
        while True:
            sent_at = time.monotonic()
            try:
                answer = await self._http.post("tasks", json=TASK, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_S)
                continue
            if answer.is_success:
                self._log.was_told(key, [UUID(answer.json()["task_id"])])
                self.accepted_at = sent_at
                return
            # access tokens expire after 15 minutes
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                await self._sign_in()
            else:
                self._judge(answer)
            await asyncio.sleep(AGAIN_S)

    def _judge(self, answer: httpx.Response) -> None:
        assert answer.is_server_error, answer.text
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            self.wrong[str(answer.status_code)] += 1
        elif "Retry-After" not in answer.headers:
            self.wrong["503 without Retry-After"] += 1
