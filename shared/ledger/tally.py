"""Adds up in memory what a process has ended, and stores it by the minute every few seconds."""

import asyncio
import bisect
import contextlib

import msgspec

from shared.errors import ServerUnavailable
from shared.ledger.database import Database
from shared.ledger.rollup import ADD, HISTOGRAMS
from shared.telemetry.metrics import RUN_BUCKETS, WAIT_BUCKETS

EVERY_S = 5.0
#: Outcomes that are counted: those that end a task, and `retry`, which another attempt follows.
OUTCOMES = frozenset({"success", "failure", "revoked", "retry"})

#: Queue, name and outcome.
Key = tuple[str, str, str]


class Sums(msgspec.Struct):
    """The columns that ADD takes beside the key, under their names there. Times are in seconds."""

    n: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0
    max_run_s: float = 0.0
    wait_hist: list[int] = msgspec.field(default_factory=lambda: [0] * HISTOGRAMS["wait_hist"])
    run_hist: list[int] = msgspec.field(default_factory=lambda: [0] * HISTOGRAMS["run_hist"])

    def add(self, wait_s: float | None, run_s: float | None) -> None:
        """Count one attempt; None: it did not start."""
        self.n += 1
        if wait_s is not None:
            self.wait_s += wait_s
            self.wait_hist[bisect.bisect_left(WAIT_BUCKETS, wait_s)] += 1
        if run_s is not None:
            self.run_s += run_s
            if run_s > self.max_run_s:
                self.max_run_s = run_s
            self.run_hist[bisect.bisect_left(RUN_BUCKETS, run_s)] += 1

    def merge(self, other: "Sums") -> None:
        self.n += other.n
        self.wait_s += other.wait_s
        self.run_s += other.run_s
        self.max_run_s = max(self.max_run_s, other.max_run_s)
        self.wait_hist = [a + b for a, b in zip(self.wait_hist, other.wait_hist, strict=True)]
        self.run_hist = [a + b for a, b in zip(self.run_hist, other.run_hist, strict=True)]


class Tally:
    """Belongs to one event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sums: dict[Key, Sums] = {}
        self._storing = asyncio.Lock()

    def add(
        self, queue: str, name: str, outcome: str, wait_s: float | None = None, run_s: float | None = None
    ) -> None:
        """Count an attempt that has ended with one of OUTCOMES. It belongs to the minute that stores it."""
        key = queue, name, outcome
        sums = self._sums.get(key)
        if sums is None:
            sums = self._sums[key] = Sums()
        sums.add(wait_s, run_s)

    async def run_once(self) -> bool:
        """Store what has been counted. Raises ServerUnavailable; then the next round stores it."""
        async with self._storing:
            await self._store()
        return False

    async def flush(self, timeout_s: float) -> None:
        """Store what has been counted, before the process ends. Without Postgres it is lost."""
        with contextlib.suppress(ServerUnavailable, TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.run_once()

    async def _store(self) -> None:
        taken, self._sums = self._sums, {}
        if not taken:
            return
        try:
            await self._database.run(ADD, rows=_rows(taken))
        except BaseException:
            for key, sums in self._sums.items():
                taken.setdefault(key, Sums()).merge(sums)
            self._sums = taken
            raise


def _rows(sums: dict[Key, Sums]) -> str:
    rows = [
        {"queue": queue, "name": name, "outcome": outcome, **msgspec.structs.asdict(each)}
        for (queue, name, outcome), each in sums.items()
    ]
    return msgspec.json.encode(rows).decode()
