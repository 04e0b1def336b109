"""Holds the state of the live view of `often top`: the facts that were read last, and the changes
since then.

It does no I/O. All times are seconds of a monotonic clock.
"""

from collections import deque
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple, Self
from uuid import UUID

from often_client.answers import Queue, RunningTask, Series, SystemHealth, TaskState, Waits, Worker

#: Maximum number of failed tasks that the live view keeps.
MAX_FAILED = 5
#: Length in seconds of the period over which the rate of ended tasks is measured.
RATE_S = 10.0


class Facts(NamedTuple):
    """Everything that is read from the API at once for the live view."""

    health: SystemHealth
    queues: list[Queue]
    workers: list[Worker]
    series: Series
    waits: Waits


@dataclass(frozen=True, slots=True)
class Running:
    """A running task, as the live view shows it."""

    task_id: UUID
    task_name: str
    queue: str
    began_at: float
    progress_current: int
    progress_total: int
    progress_message: str | None
    #: Number of the present attempt; None until the workers are read from the API, because events
    #: do not contain it.
    attempt: int | None = None
    changed_at: float = -inf

    @property
    def progress(self) -> int:
        """The task's progress in percent."""
        return 100 * self.progress_current // max(self.progress_total, 1)


@dataclass(frozen=True, slots=True)
class Failed:
    """A task that failed while the live view was open."""

    task_id: UUID
    task_name: str
    queue: str
    failed_at: float


@dataclass(slots=True)
class Board:
    """The content of the live view: the facts last read from the API, updated by the changes
    since.
    """

    facts: Facts
    #: Whether the event stream is connected and delivers changes.
    is_live: bool = False
    #: Why events, or facts, do not arrive; empty when all is well.
    stream_trouble: str = ""
    reading_trouble: str = ""
    #: Tasks that failed while the live view was open, newest first.
    failed: deque[Failed] = field(default_factory=lambda: deque(maxlen=MAX_FAILED))
    #: Times at which tasks ended, within the last RATE_S seconds.
    _ended: deque[float] = field(default_factory=deque)
    _running: dict[UUID, Running] = field(default_factory=dict)
    #: Ids of the tasks that stopped running since the facts were last read, with the time of each.
    _stopped: dict[UUID, float] = field(default_factory=dict)

    @classmethod
    def begin(cls, facts: Facts, asked_at: float) -> Self:
        """Create a board from facts that were just read from the API."""
        board = cls(facts)
        board.read(facts, asked_at)
        return board

    def read(self, facts: Facts, asked_at: float) -> None:
        """Replace the facts by those requested at `asked_at`. Changes that arrived after that time
        are kept.
        """
        self.facts = facts
        self._stopped = {task_id: at for task_id, at in self._stopped.items() if at >= asked_at}
        known = {task_id: each for task_id, each in self._running.items() if each.changed_at >= asked_at}
        for each in (task for worker in facts.workers for task in worker.running):
            began_at = asked_at - each.running_s
            if each.task_id in known:
                known[each.task_id] = replace(known[each.task_id], attempt=each.attempt, began_at=began_at)
            elif each.task_id not in self._stopped:
                known[each.task_id] = _read_task(each, began_at)
        self._running = known

    def change(self, state: TaskState, now: float) -> None:
        """Apply a change of a task that the event stream reported."""
        self._forget_failure(state.task_id)
        if state.status == "started":
            self._running[state.task_id] = _changed_task(self._running.get(state.task_id), state, now)
            self._stopped.pop(state.task_id, None)
            return
        self._running.pop(state.task_id, None)
        self._stopped[state.task_id] = now
        if state.is_final:
            self._ended.append(now)
        if state.status == "failure":
            self.failed.appendleft(Failed(state.task_id, state.task_name, state.queue, now))

    def _forget_failure(self, task_id: UUID) -> None:
        """Remove a task from the failed ones: it was retried, or its failure is about to be added
        again.
        """
        kept = [each for each in self.failed if each.task_id != task_id]
        if len(kept) < len(self.failed):
            self.failed = deque(kept, MAX_FAILED)

    def running(self) -> list[Running]:
        """The running tasks, the longest-running first."""
        return sorted(self._running.values(), key=lambda each: each.began_at)

    def ended_per_s(self, now: float) -> float:
        """The number of tasks that ended per second, over the last RATE_S seconds.

        It is a lower bound if the event stream left out changes.
        """
        while self._ended and self._ended[0] < now - RATE_S:
            self._ended.popleft()
        return len(self._ended) / RATE_S


def _read_task(task: RunningTask, began_at: float) -> Running:
    return Running(
        task.task_id,
        task.task_name,
        task.queue,
        began_at,
        task.progress_current,
        task.progress_total,
        task.progress_message,
        attempt=task.attempt,
    )


def _changed_task(known: Running | None, state: TaskState, now: float) -> Running:
    return Running(
        state.task_id,
        state.task_name,
        state.queue,
        known.began_at if known else now,
        state.progress_current,
        state.progress_total,
        state.progress_message,
        attempt=known.attempt if known else None,
        changed_at=now,
    )
