"""Postgres servers of a test's own, for what would disturb others: standbys, freezes, TLS, restores."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from local import ports, postgres
from local.leash import leashed
from local.postgres import HOST, SUPERUSER, Postgres
from shared.roles import OWNER
from tests import process_family
from tests.eventually import eventually
from tests.migrated import migrate
from tests.roles import as_role, make_roles

#: Where a standby is named, for the primary that waits for it.
STANDBY_NAME = "standby"


@dataclass(frozen=True)
class Running:
    """A server and its process."""

    server: Postgres
    process: subprocess.Popen[bytes]

    def frozen(self) -> AbstractContextManager[None]:
        """It falls silent, and its connections stay."""
        return process_family.frozen(self.process)

    def kill(self) -> None:
        process_family.kill(self.process)


def settle(folder: Path) -> Postgres:
    """A server that does not exist yet; its files are to be in `folder`."""
    return postgres.settle(folder, port=ports.pick("postgres")["postgres"])


@asynccontextmanager
async def serving(server: Postgres, *, durable: bool = False, **options: str) -> AsyncIterator[Running]:
    """Run it with these settings until the test is over."""
    server.initialise(durable=durable)
    command = [*server.command(durable=durable), *(f"--{name}={value}" for name, value in options.items())]
    running = Running(server, _start(server, command))
    process = running.process
    with leashed(process.pid, "INT"):
        try:
            await eventually(lambda: server.answers() or process.poll() is not None, 60)
            assert process.poll() is None, (server.home / "log").read_text()
            yield running
        finally:
            running.kill()


def _start(server: Postgres, command: list[str]) -> "subprocess.Popen[bytes]":
    with (server.home / "log").open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(server.account.for_subprocess if server.account else {}),
        )


def copied(server: Postgres, folder: Path, *, standby: bool) -> Postgres:
    """A base backup of a server that runs; a standby follows it."""
    copy = replace(settle(folder), password=server.password)
    arguments = ["--pgdata", str(copy.data), "--checkpoint=fast", "--no-sync", "--wal-method=stream"]
    if standby:
        place = f"host={HOST} port={server.port} user={SUPERUSER} password={server.password}"
        arguments += ["--write-recovery-conf", f"--dbname={place} application_name={STANDBY_NAME}"]
    server.run("pg_basebackup", *arguments)
    return copy


def ask(server: Postgres, sql: str, database: str = SUPERUSER) -> str:
    """What psql prints for one statement."""
    return server.run("psql", "-XAtqc", sql, database)


def url_of(servers: list[Postgres], database: str) -> str:
    """One DATABASE_URL with all hosts, in this order."""
    hosts = ",".join(f"{HOST}:{server.port}" for server in servers)
    return f"postgres://{SUPERUSER}:{servers[0].password}@{hosts}/{database}"


@asynccontextmanager
async def restored(running: Running, backup: Postgres, *, durable: bool = False) -> AsyncIterator[Running]:
    """Kill a server and run the backup of it at its address until the test is over."""
    running.kill()
    async with serving(replace(backup, port=running.server.port), durable=durable) as successor:
        yield successor


def migrated(server: Postgres, database: str) -> str:
    """The address of a new database with all tables, for its owner."""
    server.create_database(database)
    make_roles(server, database)
    url = as_role(server.url(database), OWNER)
    migrate(url)
    return url
