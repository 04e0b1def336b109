"""Starts and watches the processes of one side of a comparison, and ends them with all their
children.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from tests.platform import ROOT


class Programs:
    """A group of processes. It is a context manager, which ends all of them on exit."""

    def __init__(self, logs: Path, environment: Mapping[str, str], *, root: Path = ROOT) -> None:
        """`root` is the source tree in which the processes run."""
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
        """Run a program of this group until it ends. Returns its output."""
        ended = subprocess.run(
            command, cwd=self._root, env=self._environment, check=True, stdout=subprocess.PIPE, text=True
        )
        return ended.stdout

    def roots(self) -> list[psutil.Process]:
        """The processes that were started through this object and still run."""
        return [psutil.Process(p.pid) for p in self._started if p.poll() is None]

    def family(self) -> list[psutil.Process]:
        """The processes that were started through this object and still run, with all their
        children.
        """
        parents = self.roots()
        return parents + [child for parent in parents for child in parent.children(recursive=True)]

    def check(self) -> None:
        """Raise RuntimeError, with the last output of the process, if a process of the group has
        ended by itself.
        """
        for number, process in enumerate(self._started):
            if process.poll() is not None:
                words = (self._logs / f"{number}.log").read_text()[-2_000:]
                raise RuntimeError(f"{process.args!r} ended with {process.returncode}:\n{words}")
