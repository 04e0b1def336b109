"""The processes of a scenario, kept up as a process manager would, and the customers of its API."""

import asyncio
import contextlib
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
#: What is frozen for longer is declared dead; shorter than the drill's freeze, longer than its busy task.
STALL_AFTER_S = "40"
KEEP_S = 0.5
#: The customers are users who submit without end.
NO_QUOTAS = {"OFTEN_QUOTA_TASKS": "none", "OFTEN_QUOTA_WAITING": "none"}


class Crew:
    """Two workers, two schedulers, an API; whatever ends comes back."""

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
        #: Processes that ended by themselves, and how; the drill's own kills are not among them.
        self.ended: Counter[str] = Counter()
        self.workers: list[subprocess.Popen[bytes]] = []
        #: Held while a part of the load is submitted.
        self.submitting = asyncio.Lock()
        #: What has to be closed when the scenario is over.
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
        """A process that ignores SIGTERM is killed: the report says already that it does not work."""
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()

    async def stop_keeping(self) -> None:
        """From now on nothing that ends is started again."""
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)

    def live(self) -> list[int]:
        """The workers' process ids."""
        return [worker.pid for worker in self.workers if worker.poll() is None]

    @contextlib.asynccontextmanager
    async def no_submissions(self) -> AsyncIterator[None]:
        """Pause the load and all clients. Each of them has the answer to its last submission by then."""
        async with self.submitting, self.visitor.submitting:
            await asyncio.to_thread(self.customers.submitting.acquire)
            try:
                yield
            finally:
                self.customers.submitting.release()

    async def leader(self) -> subprocess.Popen[bytes]:
        """The scheduler whose log says last that it leads."""
        newest = {}
        for process in self._schedulers:
            lines = [line for line in self.platform.log_of(process).splitlines() if " leads, term " in line]
            if lines and process.poll() is None:
                newest[int(lines[-1].rpartition(" ")[2])] = process
        return newest[max(newest)]

    async def lead_workers_through(self, *, database_url: str, redis_url: str) -> None:
        """Drain the workers; their successors reach the servers under these addresses."""
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
        """Also notes who ended it; the API's start may take several rounds, but it is noted once."""
        if process.poll() is None:
            return False
        if process.returncode != -signal.SIGKILL:
            self.ended[f"{_module(process)} with {process.returncode}"] += 1
        return True

    async def _quietly(self, step: Callable[[], Awaitable[None]]) -> None:
        """A server may be away: the next round comes."""
        with contextlib.suppress(*PASSING, AssertionError):
            await step()

    async def _start_api(self) -> None:
        # The workers know no application either. One that sends mail would have a task for each registration.
        limits = {"OFTEN_RATE_LIMIT_ADDRESS": "100000/minute", **NO_QUOTAS}
        await self.api.start(**limits, OFTEN_APPLICATIONS="")

    def _worker(self) -> subprocess.Popen[bytes]:
        return self.platform.start("tests.drill.worker", **self._addresses)

    def _scheduler(self) -> subprocess.Popen[bytes]:
        return self.platform.start("services.scheduler", OFTEN_STALL_AFTER=STALL_AFTER_S)


def _module(process: subprocess.Popen[bytes]) -> str:
    """The module that `python -m` runs."""
    arguments = process.args
    assert isinstance(arguments, list)
    return str(arguments[2])
