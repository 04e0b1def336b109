"""The claims of this worker process: the tasks that it holds until their outcomes are acknowledged.

Dramatiq's threads, the ledger event loop and the main thread all use them, so one lock guards all
data. The claims outlive Dramatiq's consumers, which Dramatiq rebuilds after an error.
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
    """The attempts by task id, and a heap of those that wait for a thread."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.finished = 0
        self._held: dict[UUID, Attempt] = {}
        self._heap: list[tuple[int, int, Attempt]] = []
        #: Attempts that a thread has taken and that have not ended yet.
        self._running: dict[UUID, Attempt] = {}
        #: Ids of held tasks that may have been fetched from Redis a second time.
        self.fetched_again: set[UUID] = set()
        self._order = itertools.count()
        self._closed = False
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []

    def listen(self, listener: Callable[[], None]) -> None:
        """Register a function that is called, from any thread, whenever a task ends or is
        forgotten.
        """
        self._listeners.append(listener)

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Put new claims into the heap. It is ordered by priority, 9 first, then by the order of
        claiming.
        """
        with self._changed:
            for attempt in attempts:
                self._held[attempt.id] = attempt
                heapq.heappush(self._heap, (-attempt.claim.priority, next(self._order), attempt))
            self._changed.notify(len(self._heap))

    def keep_back(self, attempts: Iterable[Attempt]) -> None:
        """Register claims that no thread may take. They are held until they were given back and
        acknowledged.
        """
        with self._changed:
            for attempt in attempts:
                attempt.stage = Stage.ENDED
                self._held[attempt.id] = attempt

    def take(self, timeout_s: float) -> Attempt | None:
        """Return the next attempt for a thread to run, or None if there is none within
        `timeout_s`.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_next, timeout_s):
                return None
            attempt = heapq.heappop(self._heap)[2]
            attempt.stage = Stage.RUNNING
            attempt.started_monotonic = time.monotonic()
            self._running[attempt.id] = attempt
            return attempt

    def begin_end(self, attempt: Attempt) -> bool:
        """Note that the outcome of a running attempt is about to be passed to the recorder.

        Returns False if that was noted before, so that only one thread passes it on.
        """
        with self._changed:
            if attempt.stage is Stage.ENDED:
                return False
            attempt.stage = Stage.ENDED
            return True

    def end(self, attempt: Attempt) -> None:
        """Note that a thread is done with the attempt, whether or not the task body ran."""
        with self._changed:
            _drop(self._running, attempt)
            self.finished += 1
        self._tell()

    def abandon(self, attempt: Attempt) -> None:
        """Forget a claim because its outcome could not be passed to the recorder."""
        with self._changed:
            _drop(self._running, attempt)
            _drop(self._held, attempt)

    def withdraw(self, *, older_than_s: float = 0.0, queues: Collection[str] | None = None) -> list[Attempt]:
        """Remove claims that no thread has taken within `older_than_s`, and return them.

        The caller must pass them to the recorder. If `queues` is given, only claims of these queues
        are removed.
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
        """Note a cancel request for a held task.

        Returns the attempt if no thread has taken it, so that the caller can end it now. Otherwise
        returns None.
        """
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
        """Note held tasks whose ids were fetched from Redis again.

        If `ids` is None, the response to a fetch was lost, so any held task may be among them.
        """
        with self._changed:
            self.fetched_again.update(self._held if ids is None else self._held.keys() & set(ids))

    def forget(self, attempts: Iterable[Attempt]) -> list[UUID]:
        """Forget attempts whose outcomes are recorded and acknowledged.

        If a task was claimed again since then, the later claim is kept. Returns the ids that were
        fetched again while they were held: acknowledging has removed them from Redis, so they have
        to be sent again.
        """
        with self._changed:
            dropped = [attempt.id for attempt in attempts if _drop(self._held, attempt)]
            again = [task_id for task_id in dropped if task_id in self.fetched_again]
            self.fetched_again.difference_update(again)
        self._tell()
        return again

    def close(self) -> None:
        """Let threads take no more attempts."""
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
        """Number of threads that are running an attempt."""
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
    """Remove an attempt. Returns False if it is not in `attempts`, for example after a later
    claim.
    """
    if attempts.get(attempt.id) is not attempt:
        return False
    del attempts[attempt.id]
    return True
