"""Postgres and Valkey of the drill: durable, and there to be killed, frozen and robbed of their files."""

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

#: The database that the others are copied from.
TEMPLATE = "drill_template"


class Server:
    """One server process and how it is started."""

    def __init__(
        self, command: list[str], log: Path, answers: Callable[[], bool], options: dict[str, Any]
    ) -> None:
        self._command, self.log, self._answers, self._options = command, log, answers, options
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        """Returns when it answers."""
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
        """kill -9 of all its processes."""
        process_family.kill(self._running())

    def frozen(self) -> AbstractContextManager[None]:
        return process_family.frozen(self._running())

    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process is not None
        return self.process


class Servers:
    """Both, in a folder of their own."""

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
        """A migrated database, and its address."""
        return self._created(database, f"--template={self._migrated()}")

    def create_empty(self, database: str) -> str:
        """A database without tables, and its address."""
        self._postgres.create_database(database)
        make_roles(self._postgres, database)
        return as_role(self._postgres.url(database), OWNER)

    def create_on_disk(self, database: str) -> str:
        """A database whose tables are on the small disk; the log of Postgres is not.

        A full disk then refuses statements, where a full log would end Postgres. Raises Skipped.
        """
        if not self.disk.is_mounted:
            self.disk.mount()
            if self._postgres.account:
                self._postgres.account.take(self.disk.folder)
            location = f"CREATE TABLESPACE small LOCATION '{self.disk.folder}'"
            self._postgres.run("psql", "-XAtqc", location, postgres.SUPERUSER)
        return self._created(database, f"--template={self._migrated()}", "--tablespace=small")

    def _migrated(self) -> str:
        """The name of a migrated database. Copying it takes a tenth of the time of migrating."""
        if not self._postgres.has_database(TEMPLATE):
            self._postgres.create_database(TEMPLATE)
            make_roles(self._postgres, TEMPLATE)
            migrate(as_role(self._postgres.url(TEMPLATE), OWNER))
        return TEMPLATE

    def _created(self, database: str, *options: str) -> str:
        self._postgres.run("createdb", f"--owner={OWNER}", *options, database)
        # Each database is a system of its own; a copy would be the same one.
        new_system = "UPDATE generation SET system = gen_random_uuid()"
        self._postgres.run("psql", "-XAtqc", new_system, database)
        return as_role(self._postgres.url(database), OWNER)

    def stop(self) -> None:
        for server in (self.valkey, self.postgres):
            if server.process is not None and server.process.poll() is None:
                server.kill()
        self.disk.unmount()

    @property
    def redis_url(self) -> str:
        return self._valkey.url()

    def cut_log(self, count: int) -> None:
        """Take the last bytes off Valkey's append-only file, as a crash of the machine may."""
        newest = max(
            (self._valkey.home / "appendonlydir").glob("*.incr.aof"), key=lambda f: f.stat().st_mtime
        )
        with newest.open("rb+") as file:
            file.truncate(max(0, newest.stat().st_size - count))

    def lose_files(self) -> None:
        shutil.rmtree(self._valkey.home / "appendonlydir")
