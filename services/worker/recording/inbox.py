"""Collects what the threads of a worker report about their tasks, until the recorder writes it.

The recorder writes in rounds: each round is one write of the collected records to Postgres. Threads
never wait here. Under load, a round waits a moment for more records. An isolated record is written
immediately.
"""

import asyncio
import contextlib
import threading
import time
from concurrent.futures import Future
from datetime import timedelta
from typing import NamedTuple, TypeVar

from services.worker.claims.claim import Attempt
from services.worker.recording.record import Child, Entry, LogLine
from services.worker.running.outcome import Outcome
from shared.contracts.checks import MAX_CHILDREN
from shared.ledger.database import Database

T = TypeVar("T")

#: Under load, a round is written only once this number of records is pending. The second number
#: applies while many tasks wait in Redis. The time limits below end the wait earlier.
BATCH_ROWS, DEEP_BATCH_ROWS = 32, 64
#: Maximum wait of a round in seconds per row of the previous round, whose size shows how fast
#: records arrive; and the maximum wait in total.
WAIT_PER_ROW_S, MAX_WAIT_S = 0.003, 0.025
#: Maximum wait of a round in seconds while many tasks wait in Redis. It may be longer, because
#: tasks wait far longer in Redis anyway. It matters if many workers share few cores, because each
#: worker then ends too few tasks to fill a round sooner.
DEEP_WAIT_S = 0.15
#: Maximum number of child tasks that one round stores. It equals the maximum for one attempt.
#: Storing and pushing this many takes a second or two, and the records of other tasks have to wait
#: meanwhile.
MAX_CHILDREN_IN_ROUND = MAX_CHILDREN
#: How many seconds the record that a task has started may wait for the end of the task. If the task
#: ends in this time, one round writes both.
START_WAIT_S = 0.005
#: Maximum number of seconds that the recorder waits for records before its loop makes another turn.
IDLE_S = 10.0


def complete(waiter: "Future[T]", result: T) -> None:
    """Pass a result to the thread or the task body that waits for it.

    A waiter may have canceled its future, for example because the task's time limit has passed.
    Setting a result would then raise an error in the recorder.
    """
    if waiter.set_running_or_notify_cancel():
        waiter.set_result(result)


class Batch(NamedTuple):
    """The entries that one round writes, and the threads that wait for it."""

    entries: list[Entry]
    #: Futures of the threads that wait until the start of their attempt is committed.
    waiters: list[tuple[Attempt, "Future[bool]"]]


class Inbox:
    """The pending records of a worker.

    Methods named `note_*`, `hold` and `release` may be called from any thread. All others may be
    called only on the ledger event loop.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._pending: dict[Attempt, Entry] = {}
        #: The entries of the round that is being written now.
        self._taken: list[Entry] = []
        self._waiters: list[tuple[Attempt, Future[bool]]] = []
        #: Attempts whose records must not be written yet. A transaction of their task body has
        #: locked, or will lock, the task's row.
        self._held: set[Attempt] = set()
        #: Futures of task bodies that want to lock their task's row. They wait for the end of the
        #: round that is being written now.
        self._before_lock: list[Future[None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake = asyncio.Event()
        #: True if a round was requested: `_woken` for immediately, `_wake_later` for a little
        #: later.
        self._woken = self._wake_later = False
        #: Set when the next round does not have to wait for more records.
        self._full = asyncio.Event()
        #: True while many tasks of this worker's queues wait in Redis. The fetcher sets it.
        self.deep = False
        #: Until the time `_busy_until`, a round waits up to `_wait_s` seconds for more records.
        self._busy_until = self._wait_s = 0.0

    # Methods from here on may be called from any thread.

    def note_start(self, attempt: Attempt) -> None:
        """Note that the task body starts. If it ends within a moment, one round writes both
        facts.
        """
        with self._lock:
            self._entry(attempt).note_start()
        self._signal(START_WAIT_S)

    def note_committed_start(self, attempt: Attempt) -> "Future[bool]":
        """Like `note_start`, but returns a future that completes once the start is committed.

        The result of the future is False if the claim was already over, otherwise True.
        """
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
        """Note a child task that is stored immediately, whatever the outcome of this attempt."""
        with self._lock:
            self._entry(attempt).spawned.append(child)
        self._signal()

    def hold(self, attempt: Attempt) -> "Future[None]":
        """Keep the record of this attempt from being written until `release`.

        A transaction of the task body will lock the task's row. A round that writes the same row
        would wait for that transaction, and so would the records of all other tasks of this
        process. The returned future completes once no round that is being written contains the
        record.
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
        """Allow the record of this attempt to be written again, because the body's transaction has
        ended.

        Does nothing if the record was not kept back.
        """
        with self._lock:
            if attempt not in self._held:
                return
            self._held.discard(attempt)
        self._signal()

    def note_end(self, attempt: Attempt, outcome: Outcome) -> None:
        """Note that the attempt has ended, or that its claim is given back without an attempt."""
        execution_s, ended_at = None, self._database.now()
        if attempt.started_at is not None:
            execution_s = time.monotonic() - attempt.started_monotonic
            ended_at = attempt.started_at + timedelta(seconds=execution_s)
        with self._lock:
            self._held.discard(attempt)
            self._entry(attempt).note_end(outcome, ended_at, execution_s)
        self._signal()

    def oldest_unwritten_s(self) -> float:
        """Return the age in seconds of the oldest record that is not committed, or 0 if there is
        none.
        """
        with self._lock:
            # Both collections are in the order of arrival, and the entries that are being written
            # are older than the pending ones. The first entry is therefore the oldest.
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
        """Return the number of pending records at which a round waits no longer for more."""
        return DEEP_BATCH_ROWS if self.deep else BATCH_ROWS

    def _signal(self, wait_s: float = 0.0) -> None:
        """Request a round, either immediately or after at most `wait_s` seconds."""
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

    # Methods from here on may be called only on the ledger event loop.

    @property
    def empty(self) -> bool:
        """True if nothing has to be written and no round is being written."""
        return not self._has_ready() and not self._taken

    def wake(self) -> None:
        """End the current wait for records."""
        self._wake.set()
        self._full.set()

    async def wait(self) -> bool:
        """Wait for a record and then, under load, a moment for more.

        Returns False if there was nothing to write for some time.
        """
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
        """Remove and return the pending records for one round. Call `done` after they are written.

        Records that `hold` keeps back remain, and so do records that would exceed the limit on
        child tasks. The batch is empty if the only record was held back after `wait` returned.
        """
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
        """Note that the records of this round are committed."""
        assert self._loop is not None
        with self._lock:
            self._taken = []
            before_lock, self._before_lock = self._before_lock, []
        for free in before_lock:
            complete(free, None)
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
