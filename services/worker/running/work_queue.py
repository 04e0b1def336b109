"""Changes Dramatiq's worker so that its threads take the claimed tasks directly from our heap.

Dramatiq's own worker puts a consumer thread and a second queue in between. Each task would then
need one more thread switch, and tasks in the second queue would not be ordered by priority.
"""

import queue
from typing import Any, NamedTuple

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.message import Message

from services.worker.claims.claims import Claims

PSEUDO_QUEUE = "often"
#: Interval in seconds at which an idle thread wakes up. If a task body occupies the interpreter,
#: each wake-up takes one of the rare moments in which the event loop for Postgres and Redis could
#: run. No function depends on these wake-ups, so the interval may be long.
IDLE_S = 10


class Item(NamedTuple):
    """A queue entry in the form that Dramatiq's worker threads expect."""

    message: MessageProxy


class WorkQueue:
    """Implements the methods of a queue that Dramatiq's worker threads call."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def get(self, timeout: float) -> Item:
        """Return the next claimed task.

        Raises queue.Empty if there is none for `timeout` seconds.
        """
        attempt = self._claims.take(timeout)
        if attempt is None:
            raise queue.Empty
        message: Message[Any] = Message(PSEUDO_QUEUE, attempt.name, (attempt,), {}, {}, str(attempt.id))
        return Item(MessageProxy(message))

    def task_done(self) -> None:
        """Does nothing.

        A worker that drains looks at its claims to know whether tasks are unfinished.
        """


class ThreadPool(dramatiq.Worker):
    """Dramatiq's worker threads, which run the tasks that this process has claimed."""

    def __init__(self, broker: Broker, claims: Claims) -> None:
        super().__init__(broker, worker_threads=claims.threads, worker_timeout=IDLE_S * 1_000)
        self.work_queue = WorkQueue(claims)  # type: ignore[assignment] # all that its threads call
