"""Processes of one side: started, watched, and ended with all their children."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.platform import ROOT


class Programs:
    """Use it as `with`; nothing that was started in it outlives it."""

    def __init__(self, logs: Path, environment: Mapping[str, str], *, root: Path = ROOT) -> None:
        """`root` is the tree in which they run."""
        self._logs = logs
        self._root = root
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(root)}
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        family = self.family()
        for process in family:
            if process.is_running():
                process.kill()
        for started in self._started:
            started.wait(30)
        psutil.wait_procs(family, timeout=30)

    def start(self, *command: str | Path) -> None:
        with (self._logs / f"{len(self._started)}.log").open("wb") as log:
            self._started.append(
                subprocess.Popen(
                    command,
                    cwd=self._root,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def run(self, *command: str | Path) -> str:
        """Run one to its end; returns what it printed."""
        ended = subprocess.run(
            command, cwd=self._root, env=self._environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return ended.stdout

    def roots(self) -> list[psutil.Process]:
        """What was started and still runs."""
        return [psutil.Process(p.pid) for p in self._started if p.poll() is None]

    def family(self) -> list[psutil.Process]:
        """What was started and still runs, with all children."""
        parents = self.roots()
        return parents + [child for parent in parents for child in parent.children(recursive=True)]

    def check(self) -> None:
        """Raises RuntimeError, with its last words, when one has ended by itself."""
        for number, process in enumerate(self._started):
            if process.poll() is not None:
                words = (self._logs / f"{number}.log").read_text()[-2_000:]
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{words}")
