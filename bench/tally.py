"""How many bodies a process ran, and when: kept in memory, told to a file a few times a second.

The bodies of both sides call it, so that both are counted by the same means and at the same small cost. Peers
import it in their own environments: it needs the standard library only.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Names the folder where processes leave their tallies.
VARIABLE = "BENCH_TALLY"
TELL_EVERY_S = 0.05


class _Tally:
    """Of one process."""

    def __init__(self, folder: Path) -> None:
        self.first = time.time()
        #: When bodies ended; appending is atomic, so threads need no lock.
        self.ended: list[float] = []
        self._file = folder / f"{os.getpid()}.tally"
        threading.Thread(target=self._tell, daemon=True).start()

    def _tell(self) -> None:
        told = 0
        while True:
            count = len(self.ended)
            if count != told:
                begun = self._file.with_suffix(".begun")
                begun.write_text(f"{count} {self.first} {self.ended[count - 1]}")
                begun.rename(self._file)
                told = count
            time.sleep(TELL_EVERY_S)


_tally: _Tally | None = None
_making = threading.Lock()


def began() -> None:
    """A body begins. A process' first call makes its tally: a forked child must not share its parent's."""
    if _tally is None:
        _make()


def _make() -> None:
    global _tally
    with _making:
        if _tally is None:
            _tally = _Tally(Path(os.environ[VARIABLE]))


def ended() -> None:
    """A body ends."""
    assert _tally is not None
    _tally.ended.append(time.time())


@dataclass(frozen=True)
class Span:
    """What all processes of a side have done so far."""

    count: int
    first: float
    last: float
    #: How many processes have begun a body.
    processes: int

    @property
    def rate(self) -> float:
        """Bodies per second, from the first start to the last end."""
        return self.count / (self.last - self.first)


def read(folder: Path) -> Span:
    told = [file.read_text().split() for file in folder.glob("*.tally")]
    if not told:
        return Span(0, 0.0, 0.0, 0)
    counts, firsts, lasts = zip(*told, strict=True)
    return Span(sum(map(int, counts)), min(map(float, firsts)), max(map(float, lasts)), len(told))


async def reaches(
    folder: Path,
    count: int,
    check: Callable[[], None],
    timeout_s: float = 300,
    *,
    processes: int = 1,
    look_every_s: float = TELL_EVERY_S,
) -> Span:
    """Wait until `count` bodies have ended and as many `processes` as given have begun one.

    `check` raises when that can no longer happen.

    Raises TimeoutError.
    """
    async with asyncio.timeout(timeout_s):
        while (span := read(folder)).count < count or span.processes < processes:
            check()
            await asyncio.sleep(look_every_s)
    return span
