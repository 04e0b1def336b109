"""Another task system: what it takes to run it, and how fast it works off a queue."""

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
    """A system in one configuration, in an environment of its own."""

    #: As the table calls it.
    name: str
    #: Folder beside this file: `requirements.txt`, what it runs, and `enqueue COUNT`, or for workflows
    #: `flows chains COUNT STEPS` and `flows chord MEMBERS`.
    package: str
    #: Command lines of its environment; together they work with two processes.
    workers: tuple[str, ...]
    #: No-op tasks that keep it busy for some seconds; a rate needs no more.
    count: int
    settings: Mapping[str, str] = field(default_factory=dict)
    #: Of one that keeps a record: asks whether all is written. `{count}` tasks were queued.
    recorded: str | None = None

    @property
    def programs(self) -> Path:
        return environments.settle(Path(__file__).parent / self.package / "requirements.txt")


class Running:
    """A peer with a Redis and a database of its own."""

    def __init__(self, peer: Peer, folder: Path, programs: Programs, database_url: str) -> None:
        self.peer, self.folder, self.programs = peer, folder, programs
        self._database_url = database_url

    def enqueue(self, count: int) -> str:
        return self.run("enqueue", str(count))

    def run(self, module: str, *arguments: str) -> str:
        """Run one of its modules to the end; returns what it printed."""
        python = self.peer.programs / "python"
        return self.programs.run(python, "-m", f"bench.peers.{self.peer.package}.{module}", *arguments)

    def start_workers(self) -> None:
        for line in self.peer.workers:
            program, *arguments = line.split()
            self.programs.start(self.peer.programs / program, *arguments)

    async def recorded(self, question: str) -> None:
        """Wait until its database says yes."""
        connection = await asyncpg.connect(self._database_url)
        try:
            await eventually(lambda: connection.fetchval(question), 60)
        finally:
            await connection.close()


@contextmanager
def running(peer: Peer, stage: Stage) -> Iterator[Running]:
    """Its place; nothing of it runs yet, and nothing of it is left after the block."""
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
    """Tasks per second with all queued first, from the first start to the last end, or to its record."""
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
