"""Measures processor time of whole process trees: user and system time, including children that
have ended.

The figures come from `/proc/<pid>/stat` in steps of 10 ms. The kernel adds the time of an ended
child to its parent when the parent waits for it, as Postgres' main process does for every backend.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psutil


def spent(root: psutil.Process, *, without: Container[int] = ()) -> float:
    """Processor seconds used by `root` and all its descendants, except by live processes in
    `without`.

    Parents are read before their children. If a child ends in between, it can no longer be read,
    and the reading starts over. In the opposite order, such a child would be counted twice: its own
    time, and as a part of its parent's.

    Raises psutil.NoSuchProcess if `root` itself has ended.
    """
    while True:
        family = [root, *root.children(recursive=True)]
        try:
            return sum(sum(process.cpu_times()[:4]) for process in family if process.pid not in without)
        except psutil.NoSuchProcess:
            continue


@dataclass(frozen=True)
class Cost:
    """Processor time per task in microseconds, for each part of a system, such as Postgres or the
    workers.
    """

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.0f}" for name, value in self.parts.items())
        return f"{self.total:.0f} µs ({parts})"


@dataclass(frozen=True)
class Reading:
    """A reading of processor time: the seconds that each part of a system had used when this many
    tasks were done.
    """

    tasks: int
    seconds: Mapping[str, float]

    def since(self, earlier: Self) -> Cost:
        """The cost per task of the tasks that ended between two readings.

        Raises ValueError if no task ended between them.
        """
        tasks = self.tasks - earlier.tasks
        if tasks <= 0:
            raise ValueError("all tasks were done before the last process had started: queue more tasks")
        return Cost({name: 1e6 * (s - earlier.seconds[name]) / tasks for name, s in self.seconds.items()})


class Meter:
    """Reads the processor time of a system, separately for each of its parts."""

    def __init__(self, parts: Mapping[str, Sequence[psutil.Process]], *, without: Iterable[int] = ()) -> None:
        """`parts` maps the name of each part of the system to the roots of its process trees.
        Processes in `without` are not counted.
        """
        self._parts = parts
        self._without = frozenset(without)

    def read(self, tasks: int) -> Reading:
        seconds = {
            name: sum(spent(root, without=self._without) for root in roots)
            for name, roots in self._parts.items()
        }
        return Reading(tasks, seconds)
