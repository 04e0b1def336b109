"""Runs supervisord, which restarts crashed processes, stores their logs, and stops all of them in
order.
"""

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

#: Maximum length of the path of supervisord's socket. The system allows 107 bytes, and supervisord
#: first binds `<path>.<pid>`.
MAX_SOCKET_PATH = 95
START_S = 15.0
#: Time limit in seconds for stopping the system: the sum of all `stop_within_s`, plus some time for
#: supervisord itself.
STOP_S = 9.5
POLL_S = 0.1
#: Time limit in seconds of a call to supervisord. A busy machine may delay the answer.
ASK_S = 10.0


class _Connection(HTTPConnection):
    """An HTTP connection to supervisord over its Unix socket."""

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
        self._connection = host, connection  # xmlrpc's `close` closes the connection that is stored here
        return connection


@dataclass(frozen=True, slots=True)
class Condition:
    """The state of one program, as supervisord reports it."""

    #: Name of the program's state, as in supervisord's documentation.
    state: str
    #: Process id of the program; 0 when it does not run.
    pid: int
    #: Whether the program has ended by itself since it was last started on request, even if
    #: supervisord restarted it.
    ended: bool


class Supervisor:
    """A running supervisord, controlled over XML-RPC."""

    def __init__(self, process: Process, socket: Path) -> None:
        self._process = process
        self._socket = socket
        #: For each program, the process id that it had when it was last started on request. Another
        #: id means that it has ended by itself.
        self._first: dict[str, int] = {}
        #: Only one call to supervisord runs at a time. Otherwise an older state could be processed
        #: after a newer one.
        self._asking = asyncio.Lock()

    async def answers(self) -> None:
        """Wait until supervisord answers."""
        deadline = time.monotonic() + START_S
        while self._process.returncode is None and time.monotonic() < deadline:
            try:
                await self._ask("getState")
            except LaunchError:
                await asyncio.sleep(POLL_S)
            else:
                return
        raise LaunchError("supervisord did not start; var/log/supervisord.log may say why.")

    async def start_services(self) -> None:
        """Ask supervisord to start the services, without waiting until they are up."""
        await self._ask("startProcessGroup", SERVICES, False)

    async def restart(self, service: str) -> None:
        """Restart a service: stop it, let it finish its work, and start it again. This does not
        wait until it is up.
        """
        name = f"{SERVICES}:{service}"
        try:
            await self._ask("stopProcess", name, False)
        except Fault:  # refused, because the service has already ended
            pass
        else:
            await self._stopped(service)
        self._first.pop(service, None)
        with suppress(Fault):  # refused, if supervisord has already restarted the service
            await self._ask("startProcess", name, False)

    async def processes(self) -> dict[str, Condition]:
        """The state of every program, by the name of the program."""
        return {one["name"]: self._condition(one) for one in await self._ask("getAllProcessInfo")}

    def _condition(self, info: dict[str, Any]) -> Condition:
        name, state, pid = info["name"], info["statename"], info["pid"]
        another = pid != 0 and self._first.setdefault(name, pid) != pid
        return Condition(state, pid, ended=another or state in ("BACKOFF", "EXITED", "FATAL"))

    async def _stopped(self, service: str) -> None:
        while True:
            if (await self.processes())[service].state == "STOPPED":
                return
            await asyncio.sleep(POLL_S)

    async def _ask(self, method: str, *arguments: object) -> Any:
        """Call a method of supervisord over XML-RPC.

        Raises Fault when supervisord refuses the call, LaunchError when it does not answer.
        """
        # The call runs in a thread, so that Ctrl-C takes effect even while supervisord hangs.
        async with self._asking:
            return await asyncio.to_thread(self._call, method, *arguments)

    def _call(self, method: str, *arguments: object) -> Any:
        try:
            with ServerProxy("http://supervisor", transport=_Transport(self._socket)) as remote:
                return getattr(remote.supervisor, method)(*arguments)
        except (OSError, HTTPException, ProtocolError) as error:
            raise LaunchError("supervisord does not answer; var/log/supervisord.log may say why.") from error

    async def stop(self) -> None:
        """Stop the services first, then the servers in reverse order of their start."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        deadline = time.monotonic() + STOP_S
        while self._process.returncode is None and time.monotonic() < deadline:
            # supervisord may check only once a second whether a process has ended. Any call makes
            # it check at once.
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
    """Run supervisord inside this context. It starts the servers now and the services on request,
    and it stops all of them when the context ends.
    """
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
            # Ctrl-C in the terminal must not reach supervisord: only the launcher handles it.
            start_new_session=True,
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
    wanted.unlink(missing_ok=True)  # the file may be left behind by a supervisord that was killed
    if len(os.fsencode(wanted)) <= MAX_SOCKET_PATH:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="often-") as short:
        yield Path(short) / wanted.name
