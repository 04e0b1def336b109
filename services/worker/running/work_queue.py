"""Dramatiq's worker whose threads take the next task straight from our heap.

Its own way leads over a consumer thread and a queue of its own: a thread switch more for each task, and
tasks that wait where no priority reaches them.
"""

import queue
from typing import Any, NamedTuple

import dramatiq
from dramatiq.broker import Broker, MessageProxy
from dramatiq.message import Message

from services.worker.claims.claims import Claims

PSEUDO_QUEUE = "often"
#: How often an idle thread looks up. Beside a body that keeps the interpreter each look takes one of the rare
#: moments in which the ledger loop could run; nothing waits for these threads.
IDLE_S = 10


class Item(NamedTuple):
    """As Dramatiq's threads read it."""

    message: MessageProxy


class WorkQueue:
    """What Dramatiq's threads ask of their queue."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def get(self, timeout: float) -> Item:
        """Raises queue.Empty after `timeout` seconds."""
        attempt = self._claims.take(timeout)
        if attempt is None:
            raise queue.Empty
        message: Message[Any] = Message(PSEUDO_QUEUE, attempt.name, (attempt,), {}, {}, str(attempt.id))
        return Item(MessageProxy(message))

    def task_done(self) -> None:
        """Not used: a drain asks the claims."""


class ThreadPool(dramatiq.Worker):
    """Dramatiq's threads over the claims of this process."""

    def __init__(self, broker: Broker, claims: Claims) -> None:
        super().__init__(broker, worker_threads=claims.threads, worker_timeout=IDLE_S * 1_000)
        self.work_queue = WorkQueue(claims)  # type: ignore[assignment] # all that its threads call
