"""Runs supervisord, which brings back what crashes, keeps the logs and stops everything in order."""

import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from local import configuration
from local.configuration import SERVICES, Program
from local.errors import LaunchError
from local.leash import leashed

#: supervisord binds `<path>.<pid>` first, and a unix socket's path may have 107 bytes.
MAX_SOCKET_PATH = 95
START_S = 15.0
#: The sum of all `stop_within_s`, and a little for supervisord itself.
STOP_S = 9.5
POLL_S = 0.1


class Supervisor:
    """A running supervisord, spoken to by XML-RPC."""

    def __init__(self, process: Process, socket: Path) -> None:
        self._process = process
        self._socket = socket

    async def answers(self) -> None:
        """Wait until it can be spoken to."""
        deadline = time.monotonic() + START_S
        while self._process.returncode is None and time.monotonic() < deadline:
            try:
                self._ask("getState")
            except OSError:
                await asyncio.sleep(POLL_S)
            else:
                return
        raise LaunchError("supervisord did not start; var/log/supervisord.log may tell why.")

    def start_services(self) -> None:
        """Start them and do not wait."""
        self._ask("startProcessGroup", SERVICES, False)

    def given_up(self) -> list[str]:
        """The processes that supervisord brings back no more. Raises LaunchError when it has itself ended."""
        try:
            states = self._ask("getAllProcessInfo")
        except (OSError, Fault) as error:
            raise LaunchError("supervisord has ended; var/log/supervisord.log may tell why.") from error
        return [state["name"] for state in states if state["statename"] == "FATAL"]

    def _ask(self, method: str, *arguments: object) -> Any:
        # A connection each: supervisor's transport cannot be used again once an attempt has failed.
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        with ServerProxy("http://supervisor", transport=transport) as remote:
            return getattr(remote.supervisor, method)(*arguments)

    async def stop(self) -> None:
        """Stop the services, then the servers in reverse order of their start."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + STOP_S
        while self._process.returncode is None and time.monotonic() < deadline:
            # supervisord may look only once a second whether a process has ended; a question wakes it.
            with suppress(OSError, Fault):
                self._ask("getState")
            await asyncio.sleep(POLL_S)


@asynccontextmanager
async def supervising(
    folder: Path,
    logs: Path,
    environment: Mapping[str, str],
    *,
    servers: Sequence[Program],
    services: Sequence[Program],
) -> AsyncIterator[Supervisor]:
    """Start the servers now, the services when asked to, and stop all of them at the end."""
    with _socket(folder) as socket:
        file = folder / "supervisord.conf"
        as_root = os.geteuid() == 0
        file.write_text(
            configuration.text(folder, logs, socket, servers=servers, services=services, as_root=as_root)
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "supervisor.supervisord",
            f"--configuration={file}",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C on the terminal is the launcher's to handle
        )
        with leashed(process.pid, "TERM"):
            supervisor = Supervisor(process, socket)
            try:
                await supervisor.answers()
                yield supervisor
            finally:
                await supervisor.stop()


@contextmanager
def _socket(folder: Path) -> Iterator[Path]:
    wanted = folder / "supervisor.sock"
    wanted.unlink(missing_ok=True)  # of a supervisord that was killed
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="often-") as short:
        yield Path(short) / wanted.name
