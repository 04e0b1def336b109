"""Runs the Postgres and the Valkey server of the drill. They store their data durably, and faults
kill them, freeze them, or delete their files.
"""

import secrets
import shutil
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil

from local import ports, postgres
from local.valkey import Valkey
from shared.roles import OWNER
from tests import process_family
from tests.drill.disk import SmallDisk
from tests.eventually import eventually
from tests.migrated import migrate
from tests.roles import as_role, make_roles

#: Name of the migrated database from which the databases of all scenarios are copied.
TEMPLATE = "drill_template"


class Server:
    """A server process of the drill, and how to start it."""

    def __init__(
        self, command: list[str], log: Path, answers: Callable[[], bool], options: dict[str, Any]
    ) -> None:
        self._command, self.log, self._answers, self._options = command, log, answers, options
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Start the server, and wait until it answers."""
        self._spawn()
        await eventually(self._answers, 60)

    def _spawn(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **self._options,
            )

    def family(self) -> list[psutil.Process]:
        return process_family.family(self._running())

    def kill(self) -> None:
        """Kill all processes of the server with SIGKILL."""
        process_family.kill(self._running())

    def frozen(self) -> AbstractContextManager[None]:
        return process_family.frozen(self._running())

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None
        return self.process


class Servers:
    """The Postgres and Valkey servers of the drill, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        port = ports.pick("postgres", "valkey")
        self._postgres = postgres.settle(folder / "postgres", port=port["postgres"])
        self._postgres.initialise()
        self._valkey = Valkey(home=folder / "valkey", port=port["valkey"], password=secrets.token_hex())
        self._valkey.configure()
        account = self._postgres.account
        self.postgres = Server(
            self._postgres.command(),
            folder / "postgres.log",
            self._postgres.answers,
            account.for_subprocess if account else {},
        )
        self.valkey = Server(self._valkey.command(), folder / "valkey.log", self._valkey.answers, {})
        self.disk = SmallDisk(folder / "disk")

    async def start(self) -> None:
        await self.postgres.start()
        await self.valkey.start()

    def create(self, database: str) -> str:
        """Create a database with all tables. Returns its URL."""
        return self._created(database, f"--template={self._migrated()}")

    def create_empty(self, database: str) -> str:
        """Create a database without tables. Returns its URL."""
        self._postgres.create_database(database)
        make_roles(self._postgres, database)
        return as_role(self._postgres.url(database), OWNER)

    def copy(self, source: str, database: str) -> str:
        """Create a database as a copy of another one, which must not be in use. Returns its
        URL.
        """
        return self._created(database, f"--template={source}", "--strategy=file_copy")

    def create_on_disk(self, database: str) -> str:
        """Create a database whose tables are on the small disk. Returns its URL.

        The write-ahead log of Postgres stays on another disk. If the small disk is full, statements
        are therefore refused, while Postgres itself keeps running. Raises Skipped if the disk
        cannot be mounted.
        """
        if not self.disk.is_mounted:
            self.disk.mount()
            if self._postgres.account:
                self._postgres.account.take(self.disk.folder)
            location = f"CREATE TABLESPACE small LOCATION '{self.disk.folder}'"
            self._postgres.run("psql", "-XAtqc", location, postgres.SUPERUSER)
        return self._created(database, f"--template={self._migrated()}", "--tablespace=small")

    def _migrated(self) -> str:
        """Create the migrated template database, if necessary, and return its name. Copying it
        takes a tenth of the time of a migration.
        """
        if not self._postgres.has_database(TEMPLATE):
            self._postgres.create_database(TEMPLATE)
            make_roles(self._postgres, TEMPLATE)
            migrate(as_role(self._postgres.url(TEMPLATE), OWNER))
        return TEMPLATE

    def _created(self, database: str, *options: str) -> str:
        self._postgres.run("createdb", f"--owner={OWNER}", *options, database)
        # The copy gets a new system id, because each database must belong to a system of its own.
        new_system = "UPDATE generation SET system = gen_random_uuid()"
        self._postgres.run("psql", "-XAtqc", new_system, database)
        return as_role(self._postgres.url(database), OWNER)

    def set_read_only(self, read_only: bool) -> None:
        """Make every session of Postgres refuse writes, or allow writes again."""
        change = f"ALTER SYSTEM SET default_transaction_read_only = {'on' if read_only else 'off'}"
        for statement in (change, "SELECT pg_reload_conf()"):
            self._postgres.run("psql", "-XAtqc", statement, postgres.SUPERUSER)

    def stop(self) -> None:
        for server in (self.valkey, self.postgres):
            if server.process is not None and server.process.poll() is None:
                server.kill()
        self.disk.unmount()

    @property
    def redis_url(self) -> str:
        return self._valkey.url()

    def cut_log(self, count: int) -> None:
        """Remove the last bytes of Valkey's append-only file, as a crash of the machine might."""
        newest = max(
            (self._valkey.home / "appendonlydir").glob("*.incr.aof"), key=lambda f: f.stat().st_mtime
        )
        with newest.open("rb+") as file:
            file.truncate(max(0, newest.stat().st_size - count))

    def lose_files(self) -> None:
        shutil.rmtree(self._valkey.home / "appendonlydir")
