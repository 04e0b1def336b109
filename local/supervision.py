"""Runs supervisord, which brings back what crashes, keeps the logs and stops everything in order."""

import asyncio
import os
import socket as socket_module
import sys
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ProtocolError, ServerProxy, Transport

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
#: A busy machine may delay an answer.
ASK_S = 10.0


class _Connection(HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, socket: Path) -> None:
        super().__init__("localhost", timeout=ASK_S)
        self._path = socket

    def connect(self) -> None:
        self.sock = socket_module.socket(socket_module.AF_UNIX, socket_module.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _Transport(Transport):
    def __init__(self, socket: Path) -> None:
        super().__init__()
        self._socket = socket

    def make_connection(self, host: Any) -> HTTPConnection:
        connection = _Connection(self._socket)
        self._connection = host, connection  # which is what `close` closes
        return connection


@dataclass(frozen=True, slots=True)
class Condition:
    """What supervisord says about a program."""

    #: The name of the state as in supervisord's documentation.
    state: str
    #: 0 for one that does not run.
    pid: int
    #: Whether it ended by itself since it was last started on request.
    ended: bool


class Supervisor:
    """A running supervisord, spoken to by XML-RPC."""

    def __init__(self, process: Process, socket: Path) -> None:
        self._process = process
        self._socket = socket
        #: The first process id of each program since it was last started on request.
        self._first: dict[str, int] = {}
        #: Questions are asked one after another. Otherwise an old answer could be read after a newer one.
        self._asking = asyncio.Lock()

    async def answers(self) -> None:
        """Wait until it can be spoken to."""
        deadline = time.monotonic() + START_S
        while self._process.returncode is None and time.monotonic() < deadline:
            try:
                await self._ask("getState")
            except LaunchError:
                await asyncio.sleep(POLL_S)
            else:
                return
        raise LaunchError("supervisord did not start; var/log/supervisord.log may tell why.")

    async def start_services(self) -> None:
        """Start them and do not wait."""
        await self._ask("startProcessGroup", SERVICES, False)

    async def restart(self, service: str) -> None:
        """Stop a service, which lets it finish its work, and start it again; do not wait for the start."""
        name = f"{SERVICES}:{service}"
        try:
            await self._ask("stopProcess", name, False)
        except Fault:  # it has ended already
            pass
        else:
            await self._stopped(service)
        self._first.pop(service, None)
        with suppress(Fault):  # supervisord has brought it back already
            await self._ask("startProcess", name, False)

    async def processes(self) -> dict[str, Condition]:
        """Every program by its name."""
        return {one["name"]: self._condition(one) for one in await self._ask("getAllProcessInfo")}

    def _condition(self, told: dict[str, Any]) -> Condition:
        name, state, pid = told["name"], told["statename"], told["pid"]
        another = pid != 0 and self._first.setdefault(name, pid) != pid
        return Condition(state, pid, ended=another or state in ("BACKOFF", "EXITED", "FATAL"))

    async def _stopped(self, service: str) -> None:
        while True:
            if (await self.processes())[service].state == "STOPPED":
                return
            await asyncio.sleep(POLL_S)

    async def _ask(self, method: str, *arguments: object) -> Any:
        """Raises Fault when supervisord refuses, LaunchError when it does not answer."""
        # In a thread, so that Ctrl-C is noticed at once even while supervisord hangs.
        async with self._asking:
            return await asyncio.to_thread(self._call, method, *arguments)

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            with ServerProxy("http://supervisor", transport=_Transport(self._socket)) as remote:
                return getattr(remote.supervisor, method)(*arguments)
        except (OSError, HTTPException, ProtocolError) as error:
            raise LaunchError("supervisord does not answer; var/log/supervisord.log may tell why.") from error

    async def stop(self) -> None:
        """Stop the services, then the servers in reverse order of their start."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + STOP_S
        while self._process.returncode is None and time.monotonic() < deadline:
            # supervisord may look only once a second whether a process has ended; a question wakes it.
            with suppress(LaunchError, Fault):
                await self._ask("getState")
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
