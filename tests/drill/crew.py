"""The processes of a scenario, kept up as a process manager would."""

import asyncio
import contextlib
import subprocess
from typing import Self

from shared.errors import ServerAway
from tests.drill.servers import Servers
from tests.eventually import eventually
from tests.platform import Platform

WORKERS, SCHEDULERS = 2, 2
#: What is frozen for longer is declared dead; shorter than the drill's freeze, longer than its busy task.
STALL_AFTER_S = "10"
KEEP_S = 0.5


class Crew:
    """Two workers, two schedulers; whatever ends comes back."""

    def __init__(self, platform: Platform, servers: Servers) -> None:
        self.platform = platform
        self.servers = servers
        self.workers: list[subprocess.Popen[bytes]] = []
        self._schedulers: list[subprocess.Popen[bytes]] = []
        self._keeping: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._schedulers = [self._scheduler() for _ in range(SCHEDULERS)]
        await eventually(self.platform.has_settled, 60)
        self.workers = [self._worker() for _ in range(WORKERS)]
        for worker in self.workers:
            await eventually(lambda worker=worker: self.platform.worker_of(worker), 60)  # type: ignore[misc]
        self._keeping = asyncio.create_task(self._keep())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        await asyncio.gather(self._keeping, return_exceptions=True)
        for process in (*self.workers, *self._schedulers):
            process.terminate()
        for process in (*self.workers, *self._schedulers):
            await asyncio.to_thread(process.wait, 30)

    async def leader(self) -> subprocess.Popen[bytes]:
        """The scheduler whose log says last that it leads."""
        newest = {}
        for process in self._schedulers:
            lines = [line for line in self.platform.log_of(process).splitlines() if " leads, term " in line]
            if lines and process.poll() is None:
                newest[int(lines[-1].rpartition(" ")[2])] = process
        return newest[max(newest)]

    async def _keep(self) -> None:
        while True:
            for kept, start in ((self.workers, self._worker), (self._schedulers, self._scheduler)):
                for index, process in enumerate(kept):
                    if process.poll() is not None:
                        kept[index] = start()
            with contextlib.suppress(ServerAway):
                await self.platform.submitter.mark()
            await asyncio.sleep(KEEP_S)

    def _worker(self) -> subprocess.Popen[bytes]:
        return self.platform.start("tests.sample_worker")

    def _scheduler(self) -> subprocess.Popen[bytes]:
        return self.platform.start("services.scheduler", OFTEN_STALL_AFTER=STALL_AFTER_S)
