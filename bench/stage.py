"""Where measuring takes place: Postgres and Valkey of its own, durable, and processes that are ended after."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

from tests.drill.servers import Servers
from tests.platform import ROOT, VAULT_KEYS, Platform


class Stage:
    """Servers for a whole run; a database for each thing that is measured."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._servers = Servers(folder)
        self._numbers = itertools.count()

    async def open(self) -> None:
        await self._servers.start()

    def close(self) -> None:
        self._servers.stop()

    @property
    def redis_url(self) -> str:
        return self._servers.redis_url

    def create_database(self) -> str:
        """The address of an empty database."""
        return self._servers.create(f"bench_{next(self._numbers)}")

    def platform(self) -> Platform:
        """A migrated database and an emptied Redis; use it as `async with`."""
        url = self.create_database()
        subprocess.run(
            [sys.executable, "-m", "piccolo.main", "migrations", "forwards", "all"],
            cwd=ROOT,
            env={**os.environ, "DATABASE_URL": url, "OFTEN_VAULT_KEYS": VAULT_KEYS},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        logs = self.folder / f"logs-{next(self._numbers)}"
        logs.mkdir()
        return Platform(url, self.redis_url, logs)
