"""Processor time of whole process trees: user and system, including children that have ended.

The figures come from `/proc/<pid>/stat` in steps of 10 ms. The kernel adds the time of a child that
ended to its parent when the parent waits for it, as the postmaster does for every backend.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psutil


def spent(root: psutil.Process, *, without: Container[int] = ()) -> float:
    """Seconds that `root` and all its descendants have spent, live ones in `without` left out.

    Parents are read before their children. A child that ends in between can no longer be read, and
    the reading starts over. In the other order such a child would be counted twice.
    Raises psutil.NoSuchProcess when `root` itself has ended.
    """
    while True:
        family = [root, *root.children(recursive=True)]
        try:
            return sum(sum(process.cpu_times()[:4]) for process in family if process.pid not in without)
        except psutil.NoSuchProcess:
            continue


@dataclass(frozen=True)
class Cost:
    """Processor time per task in microseconds, by part of a system."""

    parts: Mapping[str, float]

    @property
    def total(self) -> float:
        return sum(self.parts.values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {value:.0f}" for name, value in self.parts.items())
        return f"{self.total:.0f} µs ({parts})"


@dataclass(frozen=True)
class Reading:
    """The seconds each part had spent when this many tasks were done."""

    tasks: int
    seconds: Mapping[str, float]

    def since(self, earlier: Self) -> Cost:
        """The marginal cost of the tasks between two readings.

        Raises ValueError when there are none.
        """
        tasks = self.tasks - earlier.tasks
        if tasks <= 0:
            raise ValueError("all tasks were done before the last process was at work: queue more of them")
        return Cost({name: 1e6 * (s - earlier.seconds[name]) / tasks for name, s in self.seconds.items()})


class Meter:
    """Reads the processor time of a system, part by part."""

    def __init__(self, parts: Mapping[str, Sequence[psutil.Process]], *, without: Iterable[int] = ()) -> None:
        """`parts` maps a name to the roots of its process trees; pids in `without` are left out."""
        self._parts = parts
        self._without = frozenset(without)

    def read(self, tasks: int) -> Reading:
        seconds = {
            name: sum(spent(root, without=self._without) for root in roots)
            for name, roots in self._parts.items()
        }
        return Reading(tasks, seconds)
