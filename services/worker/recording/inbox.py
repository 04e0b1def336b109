"""Takes what the threads of a worker note about their tasks, until the next round writes it.

No thread waits here. Under load a round waits a moment for company; an isolated record is written at once.
"""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import NamedTuple

from services.worker.claims.claim import Attempt
from services.worker.recording.record import Child, Entry, LogLine
from services.worker.running.outcome import Outcome
from shared.contracts.checks import MAX_CHILDREN
from shared.ledger.database import Database

#: Under load a round waits until this many records are pending, or this many while the lanes are deep …
BATCH_ROWS, DEEP_BATCH_ROWS = 32, 64
#: … or for this long for each row of the last round, which shows how much company arrives, up to a limit.
WAIT_PER_ROW_S, MAX_WAIT_S = 0.003, 0.025
#: … or for this long in any case while the lanes are deep, where the wait in them is longer by far. Of many
#: workers on few cores each ends too few tasks to fill a round sooner.
DEEP_WAIT_S = 0.15
#: Children in a round, which is as many as one attempt may have. Storing and sending them takes a second or
#: two, for which the records of other tasks wait.
MAX_CHILDREN_IN_ROUND = MAX_CHILDREN
#: How long a start waits for the end of its task: one round for both when the task is short.
START_WAIT_S = 0.005
#: How long one turn of the recorder's loop waits for records.
IDLE_S = 10.0


class Batch(NamedTuple):
    """What one round writes."""

    entries: list[Entry]
    #: Threads that wait until the start of their attempt is committed.
    waiters: list[tuple[Attempt, "Future[bool]"]]


class Inbox:
    """The pending records of a worker. `note_*` is for any thread, the rest for the ledger loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._pending: dict[Attempt, Entry] = {}
        #: The entries of the round under way.
        self._taken: list[Entry] = []
        self._waiters: list[tuple[Attempt, Future[bool]]] = []
        #: Attempts whose record waits for a transaction of their body, which holds the lock on their row.
        self._held: set[Attempt] = set()
        #: Bodies that wait until the round under way is over before they lock their row.
        self._before_lock: list[Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        #: A round was requested: at once, or a little later.
        self._woken = self._wake_later = False
        #: The pending round need not wait for company any longer.
        self._full = asyncio.Event()
        #: Many ids wait in the lanes of this worker; set by the fetcher.
        self.deep = False
        #: Until then records wait up to that many seconds for company.
        self._busy_until = self._wait_s = 0.0

    # From any thread.

    def note_start(self, attempt: Attempt) -> None:
        """The body begins. Written with the task's end if that follows within a moment."""
        with self._lock:
            self._entry(attempt).note_start()
        self._signal(START_WAIT_S)

    def note_committed_start(self, attempt: Attempt) -> "Future[bool]":
        """As note_start; the future is True once the start is committed, False when the claim was over."""
        waiter: Future[bool] = Future()
        with self._lock:
            self._entry(attempt).note_start()
            self._waiters.append((attempt, waiter))
        self._signal()
        self._flush_now()
        return waiter

    def note_progress(self, attempt: Attempt, current: int, total: int | None, message: str | None) -> None:
        with self._lock:
            self._entry(attempt).note_progress(current, total, message)
        self._signal()

    def note_log(self, attempt: Attempt, line: LogLine) -> None:
        with self._lock:
            self._entry(attempt).logs.append(line)
        self._signal()

    def note_child(self, attempt: Attempt, child: Child) -> None:
        """A child that is stored at once, whatever becomes of the attempt."""
        with self._lock:
            self._entry(attempt).spawned.append(child)
        self._signal()

    def hold(self, attempt: Attempt) -> "Future[None]":
        """Leave the record of this attempt for later: a transaction is about to lock the task's row.

        Until it ends, a round with this record would wait, and every other task of the process with it. The
        future ends once no round under way contains the record.
        """
        free: Future[None] = Future()
        with self._lock:
            self._held.add(attempt)
            if any(entry.attempt is attempt for entry in self._taken):
                self._before_lock.append(free)
            else:
                free.set_result(None)
        return free

    def release(self, attempt: Attempt) -> None:
        """The transaction is over; nothing happens for an attempt that is not held."""
        with self._lock:
            if attempt not in self._held:
                return
            self._held.discard(attempt)
        self._signal()

    def note_end(self, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt is over, or the claim is given back without one."""
        execution_s, ended_at = None, self._database.now()
        if attempt.started_at is not None:
            execution_s = time.monotonic() - attempt.started_monotonic
            ended_at = attempt.started_at + timedelta(seconds=execution_s)
        with self._lock:
            self._held.discard(attempt)
            self._entry(attempt).note_end(outcome, ended_at, execution_s)
        self._signal()

    def oldest_unwritten_s(self) -> float:
        """Age of the oldest record that is not committed, in seconds; 0 without any."""
        with self._lock:
            # Both are in the order of noting, and a round under way is older than what is pending.
            waiting = self._taken or [e for a, e in self._pending.items() if a not in self._held]
            oldest = next(iter(waiting), None)
        return time.monotonic() - oldest.noted_monotonic if oldest is not None else 0.0

    def _entry(self, attempt: Attempt) -> Entry:
        entry = self._pending.get(attempt)
        if entry is None:
            entry = self._pending[attempt] = Entry(attempt)
            if len(self._pending) == self._enough():
                self._flush_now()
        return entry

    def _enough(self) -> int:
        """Records that need not wait for company."""
        return DEEP_BATCH_ROWS if self.deep else BATCH_ROWS

    def _signal(self, wait_s: float = 0.0) -> None:
        """Request a round, at once or after `wait_s` at the latest."""
        if self._woken or self._loop is None or (wait_s and self._wake_later):
            return
        if wait_s:
            self._wake_later = True
            self._loop.call_soon_threadsafe(self._loop.call_later, wait_s, self._wake.set)
        else:
            self._woken = True
            self._loop.call_soon_threadsafe(self._wake.set)

    def _flush_now(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._full.set)

    # On the ledger loop.

    @property
    def empty(self) -> bool:
        """Nothing is left to write now, and no round is under way."""
        return not self._has_ready() and not self._taken

    def wake(self) -> None:
        """End the wait for records."""
        self._wake.set()
        self._full.set()

    async def wait(self) -> bool:
        """Wait for records and their company; False when there were none for a while."""
        self._loop = asyncio.get_running_loop()
        if not self._has_ready():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S):
                    await self._wake.wait()
        if self._loop.time() < self._busy_until:
            await self._company()
        self._wake.clear()
        self._woken = self._wake_later = False
        return self._has_ready()

    def take(self) -> Batch:
        """Take what is pending and not held, but only some records with many children; `done` follows."""
        entries: list[Entry] = []
        children = 0
        with self._lock:
            left: dict[Attempt, Entry] = {}
            for attempt, entry in self._pending.items():
                total = children + entry.children
                if attempt in self._held or total > MAX_CHILDREN_IN_ROUND:
                    left[attempt] = entry
                else:
                    entries.append(entry)
                    children = total
            self._pending = left
            waiters, self._waiters = self._waiters, []
            self._taken = entries
        return Batch(entries, waiters)

    def done(self, batch: Batch) -> None:
        """The batch is committed."""
        assert self._loop is not None
        with self._lock:
            self._taken = []
            before_lock, self._before_lock = self._before_lock, []
        for free in before_lock:
            free.set_result(None)
        short_s = min(WAIT_PER_ROW_S * len(batch.entries), MAX_WAIT_S)
        self._wait_s = DEEP_WAIT_S if self.deep else short_s
        self._busy_until = self._loop.time() + self._wait_s

    def _has_ready(self) -> bool:
        with self._lock:
            return len(self._pending) > len(self._held) or any(a not in self._held for a in self._pending)

    async def _company(self) -> None:
        assert self._loop is not None
        if len(self._pending) >= self._enough() or self._waiters:
            return
        self._full.clear()
        timer = self._loop.call_later(self._wait_s, self._full.set)
        await self._full.wait()
        timer.cancel()
