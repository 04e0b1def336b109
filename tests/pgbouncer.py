"""Helper for tests: runs a real PgBouncer in front of a test's database."""

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local import ports
from local.account import unprivileged
from local.leash import leashed
from shared.roles import OWNER, SERVICES
from tests.eventually import eventually

#: Folder in which Debian installs PgBouncer. The PATH of ordinary users does not contain it.
ALSO_IN = "/usr/sbin"


def program() -> str:
    """The path of PgBouncer. If it is not installed, the test is skipped."""
    found = shutil.which("pgbouncer", path=f"{os.environ['PATH']}{os.pathsep}{ALSO_IN}")
    if found is None:
        pytest.skip("PgBouncer is not installed; on Debian, run: apt-get install pgbouncer")
    return found


@asynccontextmanager
async def pooling(database_url: str, folder: Path, *, mode: str) -> AsyncIterator[str]:
    """Run PgBouncer in this pool mode. Yields the URL of the same database through it."""
    server = urlsplit(database_url)
    port = ports.pick("pgbouncer")["pgbouncer"]
    folder.mkdir()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text("".join(f'"{role}" "{server.password}"\n' for role in (OWNER, *SERVICES)))
    lines = [
        "[databases]",
        f"* = host={server.hostname} port={server.port}",
        "[pgbouncer]",
        "listen_addr = 127.0.0.1",
        f"listen_port = {port}",
        "unix_socket_dir =",
        "auth_type = scram-sha-256",
        f"auth_file = {users}",
        f"pool_mode = {mode}",
        "default_pool_size = 50",
    ]
    configuration.write_text("\n".join(lines) + "\n")
    process, log = _start(configuration, folder), folder / "log"
    with leashed(process.pid, "TERM"):
        try:
            await eventually(lambda: "process up" in log.read_text() or process.poll() is not None)
            assert process.poll() is None, log.read_text()
            yield database_url.replace(f":{server.port}/", f":{port}/")
        finally:
            process.kill()
            process.wait(10)


def _start(configuration: Path, folder: Path) -> "subprocess.Popen[bytes]":
    account = unprivileged()  # PgBouncer refuses to run as root, so it runs as another user
    for path in (folder, *folder.iterdir()):
        if account:
            account.take(path)
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            [program(), str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **(account.for_subprocess if account else {}),
        )
