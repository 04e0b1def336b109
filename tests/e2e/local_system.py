"""`make run` in a copy of the tree, and its use over HTTP, as a client and an operator would."""

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
#: A cold start with an empty cache of byte code, on a machine that is busy.
START_LIMIT_S = 120
PARTS = ("local", "services", "shared", "piccolo_conf.py", "pyproject.toml")
#: What would tie the system to servers of the shell that runs the tests.
OWN = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "OFTEN_API_PORT")


class LocalSystem:
    """One folder in which the system is started and stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str] | None = None
        # Another test may start a system at the same moment; both would find the usual port free.
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
        """Start, and wait for what it writes once all is ready."""
        self._spawn()
        await eventually(self._is_ready, START_LIMIT_S)
        return self.description

    def _spawn(self) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OWN}
        environment["OFTEN_API_PORT"] = str(self._api_port)
        environment["OFTEN_RELOAD"] = "1"  # services refuse it, so the launcher must keep it to itself
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
        """Ctrl-C; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout_s)

    def pids(self, service: str) -> set[int]:
        """The processes of a service (api, worker, scheduler)."""
        return {one.pid for one in self.processes() if f"services.{service}" in one.cmdline()}

    def processes(self) -> list[psutil.Process]:
        """Everything that this folder's system started and that still runs."""
        return [one for one in psutil.process_iter() if _marked(one, self.folder / "var")]

    def close(self) -> None:
        """End what a failed test left."""
        if self.process is not None and self.process.poll() is None:
            self.interrupt(60)


def _marked(process: psutil.Process, folder: Path) -> bool:
    try:
        return process.environ().get(MARK) == str(folder)
    except psutil.Error:
        return False
