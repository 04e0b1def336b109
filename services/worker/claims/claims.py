"""The claims of this process: tasks whose outcome is not acknowledged yet.

Dramatiq's threads, the ledger loop and the main thread meet here, so one lock guards all of it. It outlives
Dramatiq's consumers, which are rebuilt after an error.
"""

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from uuid import UUID

from services.worker.claims.claim import Attempt, Stage


class Claims:
    """Attempts by task id, with a heap of those that wait for a thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.finished = 0
        self._held: dict[UUID, Attempt] = {}
        self._heap: list[tuple[int, int, Attempt]] = []
        #: Attempts that a thread took and has not ended.
        self._running: dict[UUID, Attempt] = {}
        #: Held, and perhaps fetched once more meanwhile.
        self.fetched_again: set[UUID] = set()
        self._order = itertools.count()
        self._closed = False
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener`, from any thread, whenever a task ends or is forgotten."""
        self._listeners.append(listener)

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Put fresh claims into the heap; 9 first, then in the order of their claim."""
        with self._changed:
            for attempt in attempts:
                self._held[attempt.id] = attempt
                heapq.heappush(self._heap, (-attempt.claim.priority, next(self._order), attempt))
            self._changed.notify(len(self._heap))

    def keep_back(self, attempts: Iterable[Attempt]) -> None:
        """Know claims that no thread is to take, until their giving back is acknowledged."""
        with self._changed:
            for attempt in attempts:
                attempt.stage = Stage.ENDED
                self._held[attempt.id] = attempt

    def take(self, timeout_s: float) -> Attempt | None:
        """The next task, for the thread that asks; None after `timeout_s`."""
        with self._changed:
            if not self._changed.wait_for(self._has_next, timeout_s):
                return None
            attempt = heapq.heappop(self._heap)[2]
            attempt.stage = Stage.RUNNING
            attempt.started_monotonic = time.monotonic()
            self._running[attempt.id] = attempt
            return attempt

    def end(self, attempt: Attempt) -> None:
        """A thread is done with it, whether the body ran or not."""
        with self._changed:
            _drop(self._running, attempt)
            self.finished += 1
            attempt.stage = Stage.ENDED
        self._tell()

    def abandon(self, attempt: Attempt) -> None:
        """Forget a claim whose end could not be handed to the recorder."""
        with self._changed:
            _drop(self._running, attempt)
            _drop(self._held, attempt)
            attempt.stage = Stage.ENDED

    def withdraw(self, *, older_than_s: float = 0.0, queues: Collection[str] | None = None) -> list[Attempt]:
        """Take back what no thread has taken for this long; the caller hands it to the recorder.

        `queues`: only what is of these.
        """
        limit = time.monotonic() - older_than_s
        with self._changed:
            waiting = [entry[2] for entry in self._heap]
            taken = [
                attempt
                for attempt in waiting
                if attempt.claimed_monotonic <= limit and (queues is None or attempt.queue in queues)
            ]
            for attempt in taken:
                attempt.stage = Stage.ENDED
            if taken:
                self._heap = [entry for entry in self._heap if entry[2].stage is Stage.WAITING]
                heapq.heapify(self._heap)
            return taken

    def cancel(self, task_id: UUID, requested_at: datetime | None = None) -> Attempt | None:
        """Note a cancel request; returns the attempt if no thread has begun it."""
        with self._changed:
            attempt = self._held.get(task_id)
            if attempt is None or attempt.stage is Stage.ENDED:
                return None
            attempt.cancel_requested = True
            attempt.cancel_requested_at = requested_at or attempt.cancel_requested_at
            attempt.cancelled_monotonic = attempt.cancelled_monotonic or time.monotonic()
            if attempt.stage is not Stage.WAITING:
                return None
            self._heap = [entry for entry in self._heap if entry[2] is not attempt]
            heapq.heapify(self._heap)
            attempt.stage = Stage.ENDED
            return attempt

    def note_fetched_again(self, ids: Iterable[UUID] | None = None) -> None:
        """These came out of a lane while they are held; None: an answer was lost, any may have come."""
        with self._changed:
            self.fetched_again.update(self._held if ids is None else self._held.keys() & set(ids))

    def forget(self, attempts: Iterable[Attempt]) -> list[UUID]:
        """Drop what the recorder has written and acknowledged, but no later claim of the same task.

        Returns those that were fetched again meanwhile: their id lies nowhere in Redis any more.
        """
        with self._changed:
            dropped = [attempt.id for attempt in attempts if _drop(self._held, attempt)]
            again = [task_id for task_id in dropped if task_id in self.fetched_again]
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

    def running(self) -> list[Attempt]:
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


def _drop(attempts: dict[UUID, Attempt], attempt: Attempt) -> bool:
    """Remove this attempt; False when another one of its task is there, or none."""
    if attempts.get(attempt.id) is not attempt:
        return False
    del attempts[attempt.id]
    return True
