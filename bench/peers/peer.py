"""Describes and runs a peer: another task system that is measured for comparison."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench import doorbell, environments, tally
from bench.programs import Programs
from bench.stage import Stage
from tests.eventually import eventually


@dataclass(frozen=True, kw_only=True, eq=False)
class Peer:
    """A task system in one configuration, with a Python environment of its own."""

    #: Name of the task system in the benchmark table.
    name: str
    #: Folder beside this file with `requirements.txt`, the modules that use the task system, and
    #: the program `enqueue COUNT`. For workflows it also has `flows chains COUNT STEPS` and `flows
    #: chord MEMBERS`.
    package: str
    #: Commands that start the task system's workers. Together they use two processes.
    workers: tuple[str, ...]
    #: Number of no-op tasks in a run. They keep the task system busy for some seconds, which is
    #: enough to measure a rate.
    count: int
    settings: Mapping[str, str] = field(default_factory=dict)
    #: SQL query that returns whether all of `{count}` tasks are recorded. None for a task system
    #: that keeps no records.
    recorded: str | None = None

    @property
    def programs(self) -> Path:
        return environments.settle(Path(__file__).parent / self.package / "requirements.txt")


class Running:
    """A running peer (another task system) with its own Redis and database."""

    def __init__(self, peer: Peer, folder: Path, programs: Programs, database_url: str) -> None:
        self.peer, self.folder, self.programs = peer, folder, programs
        self._database_url = database_url

    def enqueue(self, count: int) -> str:
        return self.run("enqueue", str(count))

    def run(self, module: str, *arguments: str) -> str:
        """Run one of the peer's modules to its end. Returns the output."""
        python = self.peer.programs / "python"
        return self.programs.run(python, "-m", f"bench.peers.{self.peer.package}.{module}", *arguments)

    def start_workers(self) -> None:
        for line in self.peer.workers:
            program, *arguments = line.split()
            self.programs.start(self.peer.programs / program, *arguments)

    async def recorded(self, question: str) -> None:
        """Wait until the SQL query `question` returns true."""
        connection = await asyncpg.connect(self._database_url)
        try:
            await eventually(lambda: connection.fetchval(question), 60)
        finally:
            await connection.close()


@contextmanager
def running(peer: Peer, stage: Stage) -> Iterator[Running]:
    """Prepare a peer (another task system) without starting its workers. On exit, all its processes
    are killed.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"{peer.package}-", dir=stage.folder))
    database_url = stage.create_database()
    known = {
        "BENCH_REDIS_URL": stage.peers_redis_url,
        "BENCH_DATABASE_URL": database_url,
        tally.VARIABLE: str(folder),
        doorbell.VARIABLE: str(folder / "doorbell"),
    }
    with Programs(folder, {**known, **peer.settings}) as programs:
        yield Running(peer, folder, programs, database_url)


async def drain(peer: Peer, stage: Stage) -> float:
    """Queue all tasks, then start the peer's workers. Returns the tasks per second, from the first
    start to the end of the last task, or to its record if the peer keeps records.
    """
    await stage.settle()
    count = stage.count(peer.count)
    with running(peer, stage) as place:
        place.enqueue(count)
        place.start_workers()
        span = await tally.reaches(place.folder, count, place.programs.check)
        if peer.recorded is None:
            return span.rate
        await place.recorded(peer.recorded.format(count=count))
        return count / (time.time() - span.first)
