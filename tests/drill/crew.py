"""Runs the processes of one drill scenario, restarts them when they end, and runs clients of the
API.
"""

import asyncio
import contextlib
import re
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self

from tests.api_process import Api
from tests.drill.client_log import ClientLog
from tests.drill.customers import Customers
from tests.drill.database import PASSING, Database
from tests.drill.network import Network
from tests.drill.servers import Servers
from tests.drill.visitor import Visitor
from tests.drill.worker import RETURNED
from tests.eventually import eventually
from tests.platform import Platform

WORKERS, SCHEDULERS = 2, 2
#: A worker that is frozen for longer than this (seconds) is declared dead. It is shorter than the
#: freeze of a worker in the drill (50 s), and longer than the task that blocks its worker's
#: interpreter (30 s).
STALL_AFTER_S = "40"
KEEP_S = 0.5
#: Settings that turn quotas off, because the drill's clients submit tasks without end.
NO_QUOTAS = {"OFTEN_QUOTA_TASKS": "none", "OFTEN_QUOTA_WAITING": "none"}


class Crew:
    """The processes of a scenario: two workers, two schedulers and an API. A process that ends is
    started again, as a process manager would do.
    """

    def __init__(self, platform: Platform, servers: Servers, network: Network, folder: Path) -> None:
        self.platform = platform
        self.servers = servers
        self.network = network
        self.log = ClientLog(folder / "clients.jsonl")
        self.returned = folder / "returned"
        self.database = Database(platform.database_url)
        self.api = Api(platform)
        self.customers = Customers(self.api.url, self.log)
        self.visitor = Visitor(self.api.url, self.log)
        #: Counts processes that ended by themselves, by name and exit status. Processes that the
        #: drill killed are not counted.
        self.ended: Counter[str] = Counter()
        self.workers: list[subprocess.Popen[bytes]] = []
        #: Lock that is held during each submission of a part of the load. Holding it pauses the
        #: load.
        self.submitting = asyncio.Lock()
        #: Resources that are closed when the scenario is over.
        self.closing = contextlib.AsyncExitStack()
        self._schedulers: list[subprocess.Popen[bytes]] = []
        self._keeping: asyncio.Task[None] | None = None
        self._addresses: dict[str, str] = {RETURNED: str(self.returned)}

    async def __aenter__(self) -> Self:
        self._schedulers = [self._scheduler() for _ in range(SCHEDULERS)]
        await eventually(self.platform.has_settled, 60)
        await asyncio.gather(self._start_workers(), self._start_api())
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop_keeping()
        for process in (*self.workers, *self._schedulers, self.api.process):
            process.terminate()
        for process in (*self.workers, *self._schedulers, self.api.process):
            await self._stopped(process)
        await self.closing.aclose()
        self.log.close()

    async def _stopped(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a process to end after SIGTERM, and kill it if it does not. The report has
        already counted such a process as not working.
        """
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()

    async def stop_keeping(self) -> None:
        """Stop restarting processes that end."""
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    def live(self) -> list[int]:
        """Process ids of the live workers."""
        return [worker.pid for worker in self.workers if worker.poll() is None]

    @contextlib.asynccontextmanager
    async def no_submissions(self) -> AsyncIterator[None]:
        """Inside this context, the load and all clients are paused. It begins once they have
        received their last answers.
        """
        async with self.submitting, self.visitor.submitting:
            await asyncio.to_thread(self.customers.submitting.acquire)
            try:
                yield
            finally:
                self.customers.submitting.release()

    async def leader(self) -> subprocess.Popen[bytes]:
        """The process of the scheduler that was the last to log that it has become the leader."""
        newest = {}
        for process in self._schedulers:
            terms = re.findall(r" became the leader, term (\d+)", self.platform.log_of(process))
            if terms and process.poll() is None:
                newest[int(terms[-1])] = process
        return newest[max(newest)]

    async def lead_workers_through(self, *, database_url: str, redis_url: str) -> None:
        """Replace the workers with new ones, which reach Postgres and Redis at these URLs."""
        self._addresses |= {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        former, self.workers = self.workers, []
        for worker in former:
            worker.terminate()
        for worker in former:
            await asyncio.to_thread(worker.wait, 60)
        await self._start_workers()

    async def _start_workers(self) -> None:
        self.workers = [self._worker() for _ in range(WORKERS)]
        for worker in self.workers:
            await eventually(lambda worker=worker: self.platform.worker_of(worker), 60)  # type: ignore[misc]

    async def _keep(self) -> None:
        while True:
            for kept, start in ((self.workers, self._worker), (self._schedulers, self._scheduler)):
                for index, process in enumerate(kept):
                    if self._has_ended(process):
                        kept[index] = start()
            if self._has_ended(self.api.process):
                await self._quietly(self._start_api)
            await self._quietly(self.platform.submitter.mark)
            await asyncio.sleep(KEEP_S)

    def _has_ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether the process has ended by now. An end is counted in `ended`, unless the drill
        killed the process.
        """
        if process.poll() is None:
            return False
        if process.returncode != -signal.SIGKILL:
            self.ended[f"{_module(process)} with {process.returncode}"] += 1
        return True

    async def _quietly(self, step: Callable[[], Awaitable[None]]) -> None:
        """Call a function, and ignore errors that occur because a server is unavailable. The next
        round calls it again.
        """
        with contextlib.suppress(*PASSING, AssertionError):
            await step()

    async def _start_api(self) -> None:
        # The API runs without applications, as the workers do. An application that sends mail would
        # add a task for each registration.
        limits = {"OFTEN_RATE_LIMIT_ADDRESS": "100000/minute", **NO_QUOTAS}
        await self.api.start(**limits, OFTEN_APPLICATIONS="")

    def _worker(self) -> subprocess.Popen[bytes]:
        return self.platform.start("tests.drill.worker", **self._addresses)

    def _scheduler(self) -> subprocess.Popen[bytes]:
        return self.platform.start("services.scheduler", OFTEN_STALL_AFTER=STALL_AFTER_S)


def _module(process: subprocess.Popen[bytes]) -> str:
    """Name of the Python module that the process runs with `python -m`."""
    arguments = process.args
    assert isinstance(arguments, list)
    return str(arguments[2])
