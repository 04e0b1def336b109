"""Runs the system that `make run` starts, from a copy of the source tree, so that tests can use it
over HTTP.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from local import ports
from local.leftovers import MARK
from tests.eventually import eventually

ROOT = Path(__file__).parents[2]
#: Time limit in seconds for starting the system, without cached byte code and on a busy machine.
START_LIMIT_S = 120
PARTS = ("local", "services", "shared", "piccolo_conf.py", "pyproject.toml")
#: Environment variables that are removed before the start, because they would connect the system to
#: servers of the developer who runs the tests.
OWN = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "OFTEN_API_PORT")


class LocalSystem:
    """A system that is started and stopped in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        # The port of the API is chosen here. If two tests started a system at the same time, both
        # would find the default port free.
        self._api_port = ports.pick("api")["api"]
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, folder / part)

    @property
    def description_file(self) -> Path:
        return self.folder / "var/run/system.json"

    @property
    def mail_folder(self) -> Path:
        return self.folder / "var/mail"

    @property
    def mail(self) -> list[Path]:
        return list(self.mail_folder.glob("*.eml"))

    async def start(self) -> dict[str, Any]:
        """Start the system and wait until it is ready. Returns the description that the system then
        writes to a file.
        """
        self._spawn()
        await eventually(self._is_ready, START_LIMIT_S)
        return self.description

    def _spawn(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OWN}
        environment["OFTEN_API_PORT"] = str(self._api_port)
        # Services refuse to start with this variable, so the test fails if the launcher passes it
        # on to them.
        environment["OFTEN_RELOAD"] = "1"
        with (self.folder / "output.txt").open("w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "local"],
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    @property
    def description(self) -> dict[str, Any]:
        described: dict[str, Any] = json.loads(self.description_file.read_text())
        return described

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output
        return self.description_file.exists()

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text()

    def interrupt(self, timeout_s: float) -> int:
        """Send SIGINT, as Ctrl-C does, and wait for the end. Returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)

    def pids(self, service: str) -> set[int]:
        """Process ids of one of the system's services (api, worker or scheduler)."""
        return {one.pid for one in self.processes() if f"services.{service}" in one.cmdline()}

    def processes(self) -> list[psutil.Process]:
        """The running processes of the system that was started in this folder."""
        return [one for one in psutil.process_iter() if _marked(one, self.folder / "var")]

    def close(self) -> None:
        """Stop the system if a failed test has left it running."""
        if self.process is not None and self.process.poll() is None:
            self.interrupt(60)


def _marked(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except psutil.Error:
        return False
