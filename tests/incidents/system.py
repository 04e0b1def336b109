"""Runs a complete system under light load for the incidents. Processes that end are started again,
as a process manager would do.
"""

import asyncio
import contextlib
import secrets
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import redis
import yaml

from local import mail
from local.ports import pick
from monitoring.prometheus import objectives
from shared import applications
from shared.contracts import catalogue
from tests import panels
from tests.api_process import signed_up
from tests.drill.servers import Servers
from tests.eventually import eventually
from tests.incidents import load
from tests.installed import NAMES
from tests.platform import Platform
from tests.prometheus import Prometheus, served

#: Python module that each process runs, by the name of the process. Two workers serve the same
#: queues, and the third serves only the queue `email`.
MODULES = {
    "worker-1": "tests.sample_worker",
    "worker-2": "tests.sample_worker",
    "worker-mail": "tests.sample_worker",
    "scheduler-1": "services.scheduler",
    "scheduler-2": "services.scheduler",
    "api": "services.api",
}
QUEUES = {
    "worker-1": "-email",
    "worker-2": "-email",
    "worker-mail": "email",
}
#: Applications that the schedulers load. All of their tasks have objectives, which alerts check.
APPLICATIONS = f"{NAMES},tests.incidents.samples"
JOBS = {"worker": "often-worker", "scheduler": "often-scheduler", "api": "often-api"}
#: Seconds between two checks whether processes have ended and must be started again.
SUPERVISOR_S = 1.0
START_LIMIT_S = 180


@dataclass(frozen=True, kw_only=True)
class Change:
    """How a process differs from its usual configuration for a while: another module or other
    settings.
    """

    module: str = ""
    settings: dict[str, str] = field(default_factory=dict)


class System:
    """A system of three workers, two schedulers, an API, a mail server, Prometheus and
    Alertmanager. Incidents make parts of it fail.
    """

    def __init__(self, platform: Platform, servers: Servers, folder: Path) -> None:
        self.platform = platform
        self.servers = servers
        self._ports = pick(*MODULES, "http", "smtp", "exporter")
        self.api_url = f"http://127.0.0.1:{self._ports['http']}"
        targets: dict[str, list[str]] = {job: [] for job in JOBS.values()}
        for name in MODULES:
            targets[JOBS[name.partition("-")[0]]].append(f"127.0.0.1:{self._ports[name]}")
        targets["postgres"] = [f"127.0.0.1:{self._ports['exporter']}"]
        self.prometheus = Prometheus(folder, targets, hasty=False)
        # Alert rules are generated from the objectives of tasks, here including the sample tasks.
        known = catalogue.load(applications.find(APPLICATIONS)).by_name.values()
        rules = folder / "prometheus/rules/objectives.yml"
        rules.write_text(yaml.safe_dump(objectives.rules(known), width=1_000))
        self.prometheus.leave_out_long_waits()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._changes: dict[str, Change] = {}
        self._down: set[str] = set()
        self._mails = folder / "mails"
        self._mails.mkdir()
        self._secret = secrets.token_hex(32)

    async def __aenter__(self) -> Self:
        self._start(*MODULES)
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(served(panels.EXPORTED, self._ports["exporter"]))
            stack.enter_context(self.prometheus.running())
            await self.prometheus.until_up(len(MODULES), START_LIMIT_S)
            # On a busy machine, even starting the system may raise an alert, so wait until no alert
            # is active.
            await eventually(self._is_quiet, START_LIMIT_S)
            self._mail = await mail.serve(self._ports["smtp"], self._mails)
            stack.callback(lambda: self._mail.close())
            visitor = await signed_up(self.platform, self.api_url)
            stack.push_async_callback(visitor.aclose)
            await stack.enter_async_context(load.usual(self.platform, visitor))
            await stack.enter_async_context(load.repeated(self._supervise, every_s=SUPERVISOR_S))
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _is_quiet(self) -> bool:
        return not await self.prometheus.values('ALERTS{alertname!="OftenWatchdog"}')

    def process(self, name: str) -> "subprocess.Popen[bytes]":
        return self._processes[name]

    def kill(self, *names: str) -> None:
        """Kill these processes with SIGKILL. They are started again, except inside `down` and
        `stopped`.
        """
        for name in names:
            self._processes[name].kill()

    @contextmanager
    def down(self, *names: str) -> Iterator[None]:
        """Kill these processes, and do not start them again inside this context."""
        self._down.update(names)
        self.kill(*names)
        try:
            yield
        finally:
            self._down.difference_update(names)

    async def stop(self, *names: str) -> None:
        """Stop these processes with SIGTERM, and wait until they have ended. They are started
        again, except inside `down` and `stopped`.
        """
        processes = [self._processes[name] for name in names]
        for process in processes:
            process.terminate()
        for process in processes:
            await asyncio.to_thread(process.wait, 60)

    @asynccontextmanager
    async def stopped(self, *names: str) -> AsyncIterator[None]:
        """Stop these processes with SIGTERM, and do not start them again inside this context."""
        self._down.update(names)
        await self.stop(*names)
        try:
            yield
        finally:
            self._down.difference_update(names)

    @asynccontextmanager
    async def changed(self, *names: str, module: str = "", **settings: str) -> AsyncIterator[None]:
        """Run these processes with another module or other settings inside this context. They are
        restarted at its beginning and end.
        """
        for name in names:
            self._changes[name] = Change(module=module, settings=settings)
            await self.restart(name)
        try:
            yield
        finally:
            for name in names:
                del self._changes[name]
                await self.restart(name)

    @asynccontextmanager
    async def without_mail(self) -> AsyncIterator[None]:
        """Make the mail server refuse connections inside this context."""
        self._mail.close()
        try:
            yield
        finally:
            self._mail = await mail.serve(self._ports["smtp"], self._mails)

    async def restart(self, name: str) -> None:
        """Restart a process as a deployment does: send SIGTERM, wait until a new process runs, and
        until Prometheus scrapes it.
        """
        process = self._processes[name]
        await self.stop(name)
        instance = f"127.0.0.1:{self._ports[name]}"

        async def back() -> bool:
            return process is not self._processes[name] and await self.prometheus.values(
                f'up{{instance="{instance}"}}'
            ) == [1.0]

        await eventually(back, 120)

    def _start(self, *names: str) -> None:
        for name in names:
            change = self._changes.get(name, Change())
            known = {"OFTEN_METRICS_PORT": str(self._ports[name]), "SMTP_PORT": str(self._ports["smtp"])}
            if name in QUEUES:
                known["OFTEN_WORKER_QUEUES"] = QUEUES[name]
            if MODULES[name] == "services.scheduler":
                known[applications.VARIABLE] = APPLICATIONS
            if name == "api":
                known |= {"OFTEN_API_PORT": str(self._ports["http"]), "SECRET_KEY": self._secret}
            module = change.module or MODULES[name]
            self._processes[name] = self.platform.start(module, **{**known, **change.settings})

    async def _supervise(self) -> None:
        ended = [name for name, process in self._processes.items() if process.poll() is not None]
        self._start(*(name for name in ended if name not in self._down))


@asynccontextmanager
async def running(servers: Servers, folder: Path, name: str, *, small_disk: bool) -> AsyncIterator[System]:
    """Run a system with a database of its own inside this context. Raises Skipped if this machine
    cannot provide the small disk.
    """
    home = folder / name
    home.mkdir()
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()  # wipe Redis, which still belongs to the previous incident's system
    create = servers.create_on_disk if small_disk else servers.create
    async with (
        Platform(create(name), servers.redis_url, home) as platform,
        System(platform, servers, home) as system,
    ):
        yield system
