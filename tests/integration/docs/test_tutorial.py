"""Tests `docs/adding_a_task.md` by executing it from top to bottom, as a reader would."""

import asyncio
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from local import ports
from local.system import Administrator, System
from shared.contracts.contract import Contract
from tests.api_process import Api
from tests.eventually import eventually
from tests.pages import Block, blocks
from tests.platform import ROOT, Platform

PAGE = ROOT / "docs/adding_a_task.md"
ADMINISTRATOR = Administrator("admin@often.example", "a horse, a battery")

#: Texts by which the test recognizes blocks that it cannot execute as written. Each comment says
#: why, and what the test does instead.
MAKE_RUN = "make run"  # this would start its own servers; the test starts the services
HTTP_SERVER = "-m http.server 9000"  # the server never returns; the test starts it on a free port
LOCK = "[project.optional-dependencies]"  # `make lock` needs a package index; the test only reads this
COMPOSE = "worker-parcels:"  # Compose needs Docker; the test only reads the service's definition

#: Program in place of `.venv/bin/python`. It makes scripts find the description of the running
#: system in the reader's folder.
PYTHON = f"""#!{sys.executable}
import pathlib, runpy, sys
from local import system
system.DESCRIPTION = pathlib.Path("var/run/system.json").resolve()
kind, what, *rest = sys.argv[1:]
sys.argv = [what, *rest]
sys.path.insert(0, "")
exec(what) if kind == "-c" else runpy.run_module(what, run_name="__main__", alter_sys=True)
"""


class Reader:
    """A simulated reader, who executes what the page says in a folder of their own."""

    def __init__(self, folder: Path, platform: Platform) -> None:
        self.folder = folder
        self._platform = platform
        self._api = Api(platform)
        self._carrier_port = ports.pick("carrier")["carrier"]
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DATABASE_URL")},
            "PYTHONPATH": f"{folder}:{ROOT}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PARCELS_CARRIER_URL": f"http://127.0.0.1:{self._carrier_port}",
        }
        self._services: list[subprocess.Popen[bytes]] = []
        #: Outputs of the commands that have run so far.
        self.said: list[str] = []
        #: All names that the page's fragments of Python have defined so far.
        self.defined: dict[str, Any] = {}
        python = folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        python.chmod(0o755)
        (folder / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")

    async def do(self, block: Block) -> None:
        """Execute one code block of the tutorial page."""
        if block.file is not None:
            self._write(block.file, block.code)
        elif block.language == "python":
            await self._define(block.code)
        elif MAKE_RUN in block.code:
            await self._make_run(block.code)
        elif block.language == "sh":
            await self._shell(block.code)
        else:
            assert LOCK in block.code or COMPOSE in block.code, f"not executed:\n{block.code}"

    def _write(self, file: str, code: str) -> None:
        assert file.startswith("parcels/")
        (self.folder / file).write_text(code)

    async def _define(self, code: str) -> None:
        """Run a fragment of Python, and then the tests that it defines."""
        before = set(self.defined)
        await asyncio.to_thread(exec, code, self.defined)
        for name in self.defined.keys() - before:
            if name.startswith("test_") and inspect.iscoroutinefunction(self.defined[name]):
                await self.defined[name]()

    async def _shell(self, code: str) -> None:
        """Run shell commands, with the variables that earlier commands have exported."""
        code, python, serve = code.partition(".venv/bin/python") if HTTP_SERVER in code else (code, "", "")
        script = f"set -eu; test ! -e .env || . ./.env\n{code}\nexport -p > .env"
        ended = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", script],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert ended.returncode == 0, f"{code}\n{ended.stdout}{ended.stderr}"
        self.said.append(ended.stdout)
        if python:
            self._serve(shlex.split(serve.replace("9000", str(self._carrier_port))))

    def _serve(self, arguments: list[str]) -> None:
        """Start the simulated carrier, an outside service that the tutorial's task calls."""
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=self.folder, stderr=subprocess.DEVNULL, env=self._environment
        )
        self._platform.processes.append(process)

    async def _make_run(self, command: str) -> None:
        """Do what `make run` does: stop running services, migrate, create an administrator, and
        start the services.
        """
        await self.stop()
        assignment, _, _ = command.partition(" ")
        name, _, applications = assignment.partition("=")
        chosen = {name: applications, "PYTHONPATH": self._environment["PYTHONPATH"]}
        chosen["PARCELS_CARRIER_URL"] = self._environment["PARCELS_CARRIER_URL"]
        known = {**os.environ, **chosen, "DATABASE_URL": self._platform.database_url}
        known["ADMIN_PASSWORD"] = ADMINISTRATOR.password
        administrator = ("services.api.identity.administrator", "--email", ADMINISTRATOR.email)
        for module in (("shared.migrate",), administrator):
            command_line = [sys.executable, "-m", *module]
            await asyncio.to_thread(subprocess.run, command_line, cwd=ROOT, env=known, check=True)
        worker = self._platform.start("services.worker", **chosen)
        await eventually(lambda: self._platform.worker_of(worker))
        scheduler = await self._platform.start_scheduler(**chosen)
        await self._api.start(**chosen)
        self._services += [worker, scheduler, self._api.process]
        self._describe()

    def _describe(self) -> None:
        running = System(
            api=self._api.url,
            metrics=[],
            postgres=self._platform.database_url,
            redis=self._platform.redis_url,
            smtp="",
            mail_dir="",
            sandbox="",
            admin=ADMINISTRATOR,
        )
        file = self.folder / "var/run/system.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.encode(running))

    async def stop(self) -> None:
        """Stop the services that the tutorial has started."""
        for process in self._services:
            process.terminate()
        for process in self._services:
            await asyncio.to_thread(process.wait, 30)
        self._services.clear()


@pytest.fixture
async def reader(platform: Platform, tmp_path: Path) -> AsyncIterator[Reader]:
    folder = tmp_path / "checkout"
    folder.mkdir()
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    yield Reader(folder, platform)
    sys.path.remove(str(folder))
    for name in set(sys.modules) - before:
        if name.partition(".")[0] == "parcels":
            del sys.modules[name]


async def test_the_page_works_from_top_to_bottom(reader: Reader, platform: Platform) -> None:
    for block in blocks(PAGE):
        await reader.do(block)

    said = "".join(reader.said)
    for line in printed_lines():
        assert re.search(line, said, re.MULTILINE), f"{line} in\n{said}"
    (row,) = await platform.rows("SELECT checks, status FROM parcels_parcel WHERE number = 'P1001'")
    assert row == {"checks": 1, "status": "delivered"}
    (schedule,) = await platform.rows("SELECT expression FROM schedule WHERE name LIKE 'tracking.%'")
    assert schedule["expression"] == "1 h"
    contracts = {name: each for name, each in reader.defined.items() if isinstance(each, Contract)}
    assert set(contracts) == {"REPRINT_LABEL", "SEND_CODE", "WEIGH_PARCEL"}
    assert contracts["WEIGH_PARCEL"].upcast({"number": "P1001", "kilograms": 0.25}, 1) == {
        "number": "P1001",
        "grams": 250,
    }
    assert contracts["SEND_CODE"].sensitive_params == {"door_code"}
    assert await reader.defined["packed"](PAGE)


def printed_lines() -> list[str]:
    """Regular expressions for the output lines that the page shows.

    They allow for times and ids that differ each time.
    """
    lines = [
        line.removeprefix("# ")
        for block in blocks(PAGE)
        if block.language == "sh"
        for line in block.code.splitlines()
        if line.startswith("# ")
    ]
    assert len(lines) > 5
    return [f"^{_varying(re.escape(line))}$" for line in lines]


def _varying(pattern: str) -> str:
    """Make `...` in the pattern match anything, and a decimal number match any other one."""
    return re.sub(r"\d+\\\.\d+", r"[0-9.]+", pattern.replace(r"\.\.\.", ".*"))


def test_the_documented_extra_and_service_fit_the_projects_own() -> None:
    (toml,) = (block.code for block in blocks(PAGE) if LOCK in block.code)
    (service,) = (block.code for block in blocks(PAGE) if COMPOSE in block.code)
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert tomllib.loads(toml)["project"]["optional-dependencies"].keys() <= ours.keys()

    compose = (ROOT / "docker-compose.yml").read_text().replace("\nservices:\n", f"\nservices:\n{service}\n")
    content = yaml.safe_load(compose)
    services = content["services"]
    added, sample = services["worker-parcels"], services["worker-email"]
    assert added["environment"] == content["x-worker-settings"] | {"OFTEN_WORKER_QUEUES": "parcels"}
    assert added["secrets"] == content["x-worker"]["secrets"]
    assert added.keys() == sample.keys()
    shared = content["x-settings"]
    sharing = {
        name for name, each in services.items() if shared.items() <= each.get("environment", {}).items()
    }
    assert {"api", "scheduler", "worker-default", "worker-parcels"} <= sharing
    assert (ROOT / "Dockerfile").read_text().count("COPY shared shared\n") == 4
    assert "!shared\n" in (ROOT / ".dockerignore").read_text()
