"""Counts ended attempts in memory, and stores the counts as statistics and error groups."""

import asyncio
import bisect
import logging
from typing import Any, Generic, Protocol, Self, TypeVar
from uuid import UUID

import msgspec

from shared.contracts.context import Sql
from shared.errors import ServerUnavailable
from shared.ledger import error_groups, rollup
from shared.ledger.error_groups import MAX_GROUPS, OTHER
from shared.ledger.rollup import HISTOGRAMS, RUN_BUCKETS, WAIT_BUCKETS
from shared.ledger.statement import Statement
from shared.release import RELEASE

log = logging.getLogger(__name__)

EVERY_S = 5.0
#: Outcomes of attempts that are counted: those that end a task, and `retry`, after which another
#: attempt follows.
OUTCOMES = frozenset({"success", "failure", "revoked", "retry"})


class Count(Protocol):
    """Counts under one key, which can be merged with later counts under the same key."""

    def merge(self, later: Self, /) -> None: ...


class Sums(msgspec.Struct):
    """Statistics of the ended attempts with one queue, name and outcome. Times are in seconds.

    The fields are the columns that the SQL statement `rollup.ADD` takes.
    """

    queue: str
    name: str
    outcome: str
    n: int = 0
    wait_s: float = 0.0
    run_s: float = 0.0
    max_run_s: float = 0.0
    wait_hist: list[int] = msgspec.field(default_factory=lambda: [0] * HISTOGRAMS["wait_hist"])
    run_hist: list[int] = msgspec.field(default_factory=lambda: [0] * HISTOGRAMS["run_hist"])

    def add(self, wait_s: float | None, run_s: float | None) -> None:
        """Count one attempt. A time is None if the attempt did not start."""
        self.n += 1
        if wait_s is not None:
            self.wait_s += wait_s
            self.wait_hist[bisect.bisect_left(WAIT_BUCKETS, wait_s)] += 1
        if run_s is not None:
            self.run_s += run_s
            if run_s > self.max_run_s:
                self.max_run_s = run_s
            self.run_hist[bisect.bisect_left(RUN_BUCKETS, run_s)] += 1

    def merge(self, later: "Sums", /) -> None:
        self.n += later.n
        self.wait_s += later.wait_s
        self.run_s += later.run_s
        self.max_run_s = max(self.max_run_s, later.max_run_s)
        self.wait_hist = [a + b for a, b in zip(self.wait_hist, later.wait_hist, strict=True)]
        self.run_hist = [a + b for a, b in zip(self.run_hist, later.run_hist, strict=True)]


class Errors(msgspec.Struct):
    """Counts of failed attempts with one cause.

    The fields are the columns that the SQL statement `error_groups.ADD` takes.
    """

    fingerprint: str
    name: str
    kind: str
    type: str | None
    place: str | None
    message: str | None
    sample_task: UUID
    release: str = RELEASE
    attempts: int = 0
    tasks: int = 0

    def merge(self, later: "Errors", /) -> None:
        self.kind, self.message, self.sample_task = later.kind, later.message, later.sample_task
        self.attempts += later.attempts
        self.tasks += later.tasks


CountT = TypeVar("CountT", bound=Count)


class Pending(Generic[CountT]):
    """Counts in memory that one SQL statement will store."""

    def __init__(self, database: Sql, statement: Statement) -> None:
        self._database, self._statement = database, statement
        self.counts: dict[Any, CountT] = {}

    async def store(self) -> None:
        """Store the counts. If this raises ServerUnavailable, they are kept for the next call."""
        taken, self.counts = self.counts, {}
        try:
            await self._run(taken)
        except Exception as error:
            if isinstance(error, ServerUnavailable):
                raise
            log.exception("Postgres refuses a batch of task statistics; its rows are now stored one by one")
            await self._store_singly(taken)

    async def store_all(self) -> None:
        """Store the counts inside the caller's transaction.

        Every error of Postgres is raised, because it has aborted the transaction.
        """
        taken, self.counts = self.counts, {}
        await self._run(taken)

    async def _store_singly(self, taken: dict[Any, CountT]) -> None:
        """Store each count in a separate statement, and drop those that Postgres refuses.

        If they were kept, they would make every later statement fail too.
        """
        while taken:
            key, count = taken.popitem()
            try:
                await self._run({key: count}, left=taken)
            except Exception as error:
                if isinstance(error, ServerUnavailable):
                    raise
                text = "Postgres refuses these task statistics, which are dropped: %s"
                log.exception(text, count, extra={"key": str(key)})

    async def _run(self, counts: dict[Any, CountT], left: dict[Any, CountT] | None = None) -> None:
        """Store counts in one statement.

        If the server is unavailable or the call is canceled, these counts and those in `left` are
        kept.
        """
        if not counts:
            return
        try:
            rows = msgspec.json.encode([*counts.values()]).decode()
            await self._database.run(self._statement, rows=rows)
        except (ServerUnavailable, asyncio.CancelledError):
            newer, self.counts = self.counts, {**(left or {}), **counts}
            for key, count in newer.items():
                if key in self.counts:
                    self.counts[key].merge(count)
                else:
                    self.counts[key] = count
            raise


class Tally:
    """Collects counts of ended attempts. It may be used on one event loop only."""

    def __init__(self, database: Sql) -> None:
        self._sums = Pending[Sums](database, rollup.ADD)
        self._errors = Pending[Errors](database, error_groups.ADD)
        self._storing = asyncio.Lock()

    def add(
        self, queue: str, name: str, outcome: str, wait_s: float | None = None, run_s: float | None = None
    ) -> None:
        """Count an attempt that has ended with one of OUTCOMES.

        It is counted in the minute in which the counts are stored.
        """
        key = queue, name, outcome
        sums = self._sums.counts.get(key)
        if sums is None:
            sums = self._sums.counts[key] = Sums(queue, name, outcome)
        sums.add(wait_s, run_s)

    def add_error(self, error: Errors) -> None:
        """Count failed attempts with one cause.

        They are counted in the hour in which the counts are stored.
        """
        known = self._errors.counts
        if error.fingerprint not in known and len(known) >= MAX_GROUPS:
            error.fingerprint, error.type, error.place = OTHER + error.name, None, None
        if error.fingerprint in known:
            known[error.fingerprint].merge(error)
        else:
            known[error.fingerprint] = error

    async def run_once(self) -> bool:
        """Store the counts. If this raises ServerUnavailable, they are kept for the next call."""
        async with self._storing:
            await self._sums.store()
            await self._errors.store()
        return False

    async def store_in_transaction(self) -> None:
        """Store the counts inside the caller's transaction.

        Every error is raised, because it has aborted the whole transaction.
        """
        async with self._storing:
            await self._sums.store_all()
            await self._errors.store_all()

    async def flush(self, timeout_s: float) -> None:
        """Store the counts before the process ends. Counts that cannot be stored are lost."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.run_once()
        except (ServerUnavailable, TimeoutError) as error:
            log.warning("the last statistics of this process are lost: %s", str(error) or "no answer in time")
        except Exception:
            log.exception("the last statistics of this process are lost")
