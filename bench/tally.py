"""Counts the task bodies that a process runs: in memory, and in a file that is written a few times
per second.

The bodies of this project and of the other task systems call it, so that all are counted in the
same way and at the same small cost. The other task systems import this module in their own
environments, so it needs only the standard library.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Environment variable with the folder in which each process writes its count of bodies to a file.
VARIABLE = "BENCH_TALLY"
WRITE_EVERY_S = 0.05


class _Tally:
    """The count of finished task bodies of one process."""

    def __init__(self, folder: Path) -> None:
        self.first = time.time()
        #: The times at which task bodies ended. Appending to a list is atomic, so threads need no
        #: lock.
        self.ended: list[float] = []
        self._file = folder / f"{os.getpid()}.tally"
        threading.Thread(target=self._write, daemon=True).start()

    def _write(self) -> None:
        written = 0
        while True:
            count = len(self.ended)
            if count != written:
                begun = self._file.with_suffix(".begun")
                begun.write_text(f"{count} {self.first} {self.ended[count - 1]}")
                begun.rename(self._file)
                written = count
            time.sleep(WRITE_EVERY_S)


_tally: _Tally | None = None
_making = threading.Lock()


def began() -> None:
    """Count the start of a task body.

    The first call in a process creates its counter. Creating it on import would let forked child
    processes share their parent's.
    """
    if _tally is None:
        _make()


def _make() -> None:
    global _tally
    with _making:
        if _tally is None:
            _tally = _Tally(Path(os.environ[VARIABLE]))


def ended() -> None:
    """Count the end of a task body."""
    assert _tally is not None
    _tally.ended.append(time.time())


@dataclass(frozen=True)
class Span:
    """The counts of all processes of one side, added up, and the times of the first start and the
    last end.
    """

    count: int
    first: float
    last: float
    #: Number of processes that have begun at least one task body.
    processes: int

    @property
    def rate(self) -> float:
        """Task bodies per second, from the first start to the last end."""
        return self.count / (self.last - self.first)


def read(folder: Path) -> Span:
    tallies = [file.read_text().split() for file in folder.glob("*.tally")]
    if not tallies:
        return Span(0, 0.0, 0.0, 0)
    counts, firsts, lasts = zip(*tallies, strict=True)
    return Span(sum(map(int, counts)), min(map(float, firsts)), max(map(float, lasts)), len(tallies))


async def reaches(
    folder: Path,
    count: int,
    check: Callable[[], None],
    timeout_s: float = 300,
    *,
    processes: int = 1,
    look_every_s: float = WRITE_EVERY_S,
) -> Span:
    """Wait until `count` task bodies have ended and `processes` processes have begun one.

    Raises TimeoutError. `check` is called repeatedly while waiting; it raises if a process has
    ended, so that waiting would be pointless.
    """
    async with asyncio.timeout(timeout_s):
        while (span := read(folder)).count < count or span.processes < processes:
            check()
            await asyncio.sleep(look_every_s)
    return span
