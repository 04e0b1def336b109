"""A scheduler and a worker that several tests share, which saves the time to start them. Each test
accesses them through a Platform of its own.
"""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Self

from tests.platform import Platform, kill

StartCrew = Callable[..., "Crew"]
NOTHING: Mapping[str, str] = MappingProxyType({})


class Crew:
    """The shared scheduler and worker. They suit tests that look only at the tasks which they have
    submitted themselves.
    """

    def __init__(self, database_url: str, redis_url: str, logs: Path) -> None:
        self._place = (database_url, redis_url, logs)
        #: Folder with the log files of the processes.
        self.logs = logs

    def platform(self) -> Platform:
        return Platform(*self._place)

    @contextmanager
    def running(self, *, scheduler: Mapping[str, str] = NOTHING, **worker: str) -> Iterator[Self]:
        """Run the processes inside this context. `scheduler` and `worker` contain additional
        environment variables for them.
        """
        processes = asyncio.run(self._start(scheduler, worker))
        try:
            yield self
        finally:
            kill(processes)

    async def _start(
        self, scheduler: Mapping[str, str], worker: Mapping[str, str]
    ) -> list[subprocess.Popen[bytes]]:
        async with self.platform() as platform:
            await platform.start_scheduler(**scheduler)
            await platform.start_worker(**worker)
            started, platform.processes = platform.processes, []
            return started
