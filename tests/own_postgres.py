"""Runs a separate Postgres server for a test that would disturb others: with standbys, freezes, TLS
or restores.
"""

import asyncio
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

#: Name by which the primary knows its standby, for whose confirmation a commit waits.
STANDBY_NAME = "standby"


@dataclass(frozen=True)
class Running:
    """A running Postgres server and its process."""

    server: Postgres
    process: subprocess.Popen[bytes]

    def frozen(self) -> AbstractContextManager[None]:
        """Freeze the server inside this context: it does not answer, but its connections
        stay open.
        """
        return process_family.frozen(self.process)

    def kill(self) -> None:
        process_family.kill(self.process)


def settle(folder: Path) -> Postgres:
    """Prepare a new Postgres server on a free port, with its files in `folder`.

    It is not started.
    """
    return postgres.settle(folder, port=ports.pick("postgres")["postgres"])


@asynccontextmanager
async def serving(server: Postgres, *, durable: bool = False, **options: str) -> AsyncIterator[Running]:
    """Run the Postgres server with these settings inside this context."""
    server.initialise(durable=durable)
    command = [*server.command(durable=durable), *(f"--{name}={value}" for name, value in options.items())]
    running = Running(server, _start(server, command))
    process = running.process
    with leashed(process.pid, "INT"):
        try:
            # The question runs in a thread, so that this event loop meanwhile learns which of its
            # connections a former server at the same address has closed.
            await eventually(lambda: _settled(server, process), 60)
            assert process.poll() is None, (server.home / "log").read_text()
            yield running
        finally:
            running.kill()


async def _settled(server: Postgres, process: "subprocess.Popen[bytes]") -> bool:
    """Whether the server answers or has ended."""
    return await asyncio.to_thread(server.answers) or process.poll() is not None


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
    """Make a base backup of a running server.

    With `standby`, the copy replicates the server once it runs.
    """
    copy = replace(settle(folder), password=server.password)
    arguments = ["--pgdata", str(copy.data), "--checkpoint=fast", "--no-sync", "--wal-method=stream"]
    if standby:
        place = f"host={HOST} port={server.port} user={SUPERUSER} password={server.password}"
        arguments += ["--write-recovery-conf", f"--dbname={place} application_name={STANDBY_NAME}"]
    server.run("pg_basebackup", *arguments)
    return copy


def ask(server: Postgres, sql: str, database: str = SUPERUSER) -> str:
    """Run a statement with psql. Returns its output."""
    return server.run("psql", "-XAtqc", sql, database)


def url_of(servers: list[Postgres], database: str) -> str:
    """A DATABASE_URL that lists all these servers in this order."""
    hosts = ",".join(f"{HOST}:{server.port}" for server in servers)
    return f"postgres://{SUPERUSER}:{servers[0].password}@{hosts}/{database}"


@asynccontextmanager
async def restored(running: Running, backup: Postgres, *, durable: bool = False) -> AsyncIterator[Running]:
    """Kill the server, and inside this context run a backup at the same address."""
    running.kill()
    async with serving(replace(backup, port=running.server.port), durable=durable) as successor:
        yield successor


def migrated(server: Postgres, database: str) -> str:
    """Create a database and migrate it. Returns the URL for the role that owns its tables."""
    server.create_database(database)
    make_roles(server, database)
    url = as_role(server.url(database), OWNER)
    migrate(url)
    return url
