"""Starts servers for measurements: a durable Postgres and a Valkey that nothing else uses, and that
are ended afterwards.
"""

import itertools
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import psutil
import redis

from local.postgres import SUPERUSER
from tests.drill.servers import Servers
from tests.platform import ROOT, VAULT_KEYS, Platform
from tests.roles import as_role

#: Arguments that migrate the database in older source trees of this project, which have no
#: migration command of their own.
PICCOLO = ["piccolo.main", "migrations", "forwards", "all"]


class Stage:
    """The Postgres and Valkey of a whole benchmark run. Each measurement gets a new database."""

    def __init__(self, folder: Path, *, scale: float = 1.0) -> None:
        self.folder = folder
        self._scale = scale
        self._servers = Servers(folder)
        self._numbers = itertools.count()
        self._any_database = ""
        #: Names of the databases that were filled, by what they are filled with.
        self._filled: dict[str, str] = {}

    async def open(self) -> None:
        await self._servers.start()
        self._any_database = as_role(self.create_database(), SUPERUSER)

    def close(self) -> None:
        self._servers.stop()

    @property
    def postgres(self) -> psutil.Process:
        """Postgres' main process (postmaster), the parent of all its other processes."""
        return self._servers.postgres.family()[0]

    @property
    def postgres_log(self) -> Path:
        return self._servers.postgres.log

    @property
    def valkey(self) -> psutil.Process:
        return self._servers.valkey.family()[0]

    @property
    def redis_url(self) -> str:
        return self._servers.redis_url

    @property
    def peers_redis_url(self) -> str:
        """URL of the logical Redis database that other task systems use."""
        return f"{self.redis_url.rpartition('/')[0]}/1"

    def count(self, number: int) -> int:
        """Returns the number of tasks or samples to use instead of `number`. It is smaller than
        `number` in a trial run.
        """
        return max(1, int(number * self._scale))

    async def settle(self) -> None:
        """Empty Redis and write Postgres' pending data to disk, so that no measurement pays for the
        previous one.
        """
        self._empty_redis()
        await self.checkpoint()

    async def checkpoint(self) -> None:
        """Make Postgres write its pending data to disk."""
        await self._execute("CHECKPOINT")

    async def _execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self._any_database)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def _empty_redis(self) -> None:
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()

    def create_database(self) -> str:
        """Create an empty database. Returns its URL."""
        return self._servers.create_empty(f"bench_{next(self._numbers)}")

    async def drop_database(self, url: str) -> None:
        """Drop a database that is no longer needed, and close its connections."""
        await self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    async def filled(self, contents: str, fill: Callable[[str], Awaitable[None]]) -> str:
        """Create a migrated database and fill it. Returns its URL.

        If a database was already filled with the same contents, this is a copy of it.
        """
        if contents not in self._filled:
            url = self.create_database()
            migrate(url)
            await fill(url)
            self._filled[contents] = url.rpartition("/")[2]
        return self._servers.copy(self._filled[contents], f"bench_{next(self._numbers)}")

    def platform(self, database_url: str | None = None) -> Platform:
        """Returns a platform with a migrated database and an empty Redis, to be used with `async
        with`. The database is new and empty if none is given.
        """
        if database_url is None:
            database_url = self.create_database()
            migrate(database_url)
        self._empty_redis()
        logs = self.folder / f"logs-{next(self._numbers)}"
        logs.mkdir()
        return Platform(database_url, self.redis_url, logs)


def migrate(database_url: str, tree: Path = ROOT) -> None:
    """Migrate an empty database with the code of a source tree of this project, which may be an old
    one.
    """
    own = ["shared.migrate"] if (tree / "shared/migrate.py").exists() else PICCOLO
    subprocess.run(
        [sys.executable, "-m", *own],
        cwd=tree,
        env={
            **os.environ,
            "PYTHONPATH": str(tree),
            "DATABASE_URL": database_url,
            "OFTEN_VAULT_KEYS": VAULT_KEYS,
        },
        check=True,
        stdout=subprocess.DEVNULL,
    )
