"""What this process holds: tasks that it claimed and whose outcome is not yet acknowledged.

Dramatiq's threads, the ledger loop and the main thread meet here, so all of it is guarded by one lock. It
outlives Dramatiq's consumers, which are made anew after an error.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

import msgspec

from services.worker.running.outcome import Outcome


class Stage(Enum):
    """How far a claim has come in this process."""

    #: In the heap, no thread has it.
    WAITING = 1
    RUNNING = 2
    #: The recorder has its outcome, or was told that the claim is given back.
    ENDED = 3


class Holding(msgspec.Struct, eq=False):
    """One claimed task. Read-only but for what stands below `stage`."""

    id: UUID
    claim: int
    name: str
    contract_version: int
    queue: str
    priority: int
    status: str
    params: str
    attempt: int
    failures: int
    max_attempts: int
    suspect: bool
    owner: int | None
    #: When it could have run first since its last attempt.
    ready_at: datetime
    claimed_at: datetime
    cancel_requested: bool
    expired: bool
    claimed_monotonic: float = msgspec.field(default_factory=time.monotonic)
    stage: Stage = Stage.WAITING
    started_at: datetime | None = None
    started_monotonic: float = 0.0
    returned: Any = None
    outcome: Outcome | None = None
    children: list[Any] = msgspec.field(default_factory=list)
    #: When somebody asked to cancel it; None also until a claim or a heartbeat has said so.
    cancel_requested_at: datetime | None = None
    #: When this process learnt of that, when it interrupted the body; None: not.
    cancelled_monotonic: float | None = None
    interrupted_monotonic: float | None = None
    #: It was interrupted because its time was up.
    overran: bool = False
    #: Values of the sensitive parameters, which nothing that is logged or recorded may say.
    secrets: Sequence[str] = ()
    #: Taken to interrupt the body and by the body's end, so that no exception hits the next task of the
    #: thread.
    slot: threading.Lock = msgspec.field(default_factory=threading.Lock)
    thread: int | None = None
    #: An exception was set in that thread; what it has not raised must not hit the next task.
    struck: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.id} claim {self.claim}"

    #: Says nothing of parameters, secrets and result.
    __repr__ = __str__


class Holdings:
    """The claims of this process, with a heap of those that wait for a thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.finished = 0
        self._held: dict[UUID, Holding] = {}
        self._heap: list[tuple[int, int, Holding]] = []
        #: Those that a thread took and has not ended.
        self._running: dict[UUID, Holding] = {}
        #: Held, and perhaps fetched once more meanwhile.
        self.fetched_again: set[UUID] = set()
        self._order = itertools.count()
        self._closed = False
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from any thread, whenever a task ends or is forgotten."""
        self._listeners.append(listener)

    def add(self, holdings: Iterable[Holding]) -> None:
        """Put fresh claims into the heap; 9 first, then in the order of their claim."""
        with self._changed:
            for holding in holdings:
                self._held[holding.id] = holding
                heapq.heappush(self._heap, (-holding.priority, next(self._order), holding))
            self._changed.notify(len(self._heap))

    def take(self, timeout_s: float) -> Holding | None:
        """The next task, for the thread that asks; None after `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(self._has_next, timeout_s):
                return None
            holding = heapq.heappop(self._heap)[2]
            holding.stage = Stage.RUNNING
            holding.started_monotonic = time.monotonic()
            self._running[holding.id] = holding
            return holding

    def end(self, holding: Holding) -> None:
        """A thread is done with it, whether the body ran or not."""
        with self._changed:
            self._running.pop(holding.id, None)
            self.finished += 1
            holding.stage = Stage.ENDED
        self._tell()

    def withdraw(self, *, older_than_s: float = 0.0) -> list[Holding]:
        """Take back what no thread has taken after so long; the caller hands it to the recorder."""
        limit = time.monotonic() - older_than_s
        with self._changed:
            taken = [h for _, _, h in self._heap if h.claimed_monotonic <= limit]
            if taken:
                self._heap = [entry for entry in self._heap if entry[2].claimed_monotonic > limit]
                heapq.heapify(self._heap)
            for holding in taken:
                holding.stage = Stage.ENDED
            return taken

    def cancel(self, task_id: UUID, requested_at: datetime | None = None) -> Holding | None:
        """Note that somebody asked to cancel; returns the holding when it had not been given to a thread."""
        with self._changed:
            holding = self._held.get(task_id)
            if holding is None or holding.stage is Stage.ENDED:
                return None
            holding.cancel_requested = True
            holding.cancel_requested_at = requested_at or holding.cancel_requested_at
            holding.cancelled_monotonic = holding.cancelled_monotonic or time.monotonic()
            if holding.stage is not Stage.WAITING:
                return None
            self._heap = [entry for entry in self._heap if entry[2] is not holding]
            heapq.heapify(self._heap)
            holding.stage = Stage.ENDED
            return holding

    def note_fetched_again(self, ids: Iterable[UUID] | None = None) -> None:
        """These came out of a lane while they are held; None: an answer was lost, any may have come."""
        with self._changed:
            self.fetched_again.update(self._held if ids is None else self._held.keys() & set(ids))

    def forget(self, ids: Sequence[UUID]) -> list[UUID]:
        """Drop what the recorder has written and acknowledged.

        Returns those that were fetched again meanwhile: their id lies nowhere in Redis any more.
        """
        with self._changed:
            for task_id in ids:
                self._held.pop(task_id, None)
            again = [task_id for task_id in ids if task_id in self.fetched_again]
            self.fetched_again.difference_update(again)
        self._tell()
        return again

    def close(self) -> None:
        """Give nothing more to threads."""
        with self._changed:
            self._closed = True

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, task_id: UUID) -> bool:
        return task_id in self._held

    def ids(self) -> set[UUID]:
        with self._changed:
            return set(self._held)

    def running(self) -> list[Holding]:
        with self._changed:
            return list(self._running.values())

    @property
    def waiting(self) -> int:
        return len(self._heap)

    @property
    def busy(self) -> int:
        """Threads that have a task."""
        return len(self._running)

    def longest_running_s(self) -> float:
        now = time.monotonic()
        return max((now - h.started_monotonic for h in self.running()), default=0.0)

    def _has_next(self) -> bool:
        return bool(self._heap) and not self._closed

    def _tell(self) -> None:
        for listener in self._listeners:
            listener()
