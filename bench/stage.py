"""Where measuring takes place: Postgres and Valkey of its own, durable, and processes that end with it."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import asyncpg
import psutil
import redis

from local.postgres import SUPERUSER
from tests.drill.servers import Servers
from tests.platform import ROOT, VAULT_KEYS, Platform
from tests.roles import as_role

#: How trees migrate that have no command of their own for it.
PICCOLO = ["piccolo.main", "migrations", "forwards", "all"]


class Stage:
    """Servers for a whole run; a database for each thing that is measured."""

    def __init__(self, folder: Path, *, scale: float = 1.0) -> None:
        self.folder = folder
        self._scale = scale
        self._servers = Servers(folder)
        self._numbers = itertools.count()
        self._any_database = ""

    async def open(self) -> None:
        await self._servers.start()
        self._any_database = as_role(self.create_database(), SUPERUSER)

    def close(self) -> None:
        self._servers.stop()

    @property
    def postgres(self) -> psutil.Process:
        """The postmaster."""
        return self._servers.postgres.family()[0]

    @property
    def valkey(self) -> psutil.Process:
        return self._servers.valkey.family()[0]

    @property
    def redis_url(self) -> str:
        return self._servers.redis_url

    @property
    def peers_redis_url(self) -> str:
        """Another database of the same Redis."""
        return f"{self.redis_url.rpartition('/')[0]}/1"

    def count(self, number: int) -> int:
        """How many tasks or samples where `number` is meant: fewer in a trial run."""
        return max(1, int(number * self._scale))

    async def settle(self) -> None:
        """Empty Redis and write out what the last one to be measured left for later: nobody else pays it."""
        self._empty_redis()
        await self.checkpoint()

    async def checkpoint(self) -> None:
        """Write out what Postgres has left for later."""
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
        """The address of an empty database."""
        return self._servers.create_empty(f"bench_{next(self._numbers)}")

    async def drop_database(self, url: str) -> None:
        """Drop one that is no longer needed, together with its connections."""
        await self._execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def platform(self) -> Platform:
        """A migrated database and an emptied Redis; use it as `async with`."""
        url = self.create_database()
        migrate(url)
        self._empty_redis()
        logs = self.folder / f"logs-{next(self._numbers)}"
        logs.mkdir()
        return Platform(url, self.redis_url, logs)


def migrate(database_url: str, tree: Path = ROOT) -> None:
    """Bring an empty database up to date with a tree of this project, which may be an old one."""
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
