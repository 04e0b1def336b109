"""Publishes committed changes of tasks and workflows through Redis to the processes that listen.

A message is only a hint, and the truth is in Postgres. A message contains complete states with
revisions, so the newest revision counts. A process that misses a message reads the row instead.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Self, TypeVar
from uuid import UUID

import msgspec

from shared.telemetry import metrics
from shared.transport.answers import answer_of
from shared.transport.keys import unacked_key
from shared.transport.message import decoded
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Interval in seconds at which a message is published while no process listens. Redis answers with
#: the number of listeners, so this detects when one begins to listen.
PROBE_S = 0.5
#: Maximum number of changes in one message. Such a message has about 60 kB.
MAX_CHANGES = 1_000
#: Maximum number of commits whose changes wait to be published. Changes of further commits are
#: dropped, and readers find them in the database.
MAX_WAITING = 1_000


class TaskChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of a task at one revision, as task lists show it to every user who may see the
    task.
    """

    id: UUID
    #: Revision of the task. It increases with each visible change.
    revision: int
    status: str
    name: str
    queue: str
    owner: int | None = None
    progress_current: int = 0
    progress_total: Annotated[int, msgspec.Meta(ge=1)] = 100
    progress_message: str | None = None
    workflow: UUID | None = None
    step: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Build a change from a row that has the columns of `shared.ledger.transitions.changed`."""
        return cls(**{name: row[name] for name in cls.__struct_fields__})


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """The contents of one message. Later releases may append fields."""

    tasks: Sequence[TaskChange] = ()
    #: Ids of tasks that have new log lines.
    logged: Sequence[UUID] = ()
    #: Ids of workflows whose revision has changed.
    workflows: Sequence[UUID] = ()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.logged or self.workflows)


_ENCODER = msgspec.msgpack.Encoder(uuid_format="bytes")
_DECODER = msgspec.msgpack.Decoder(Changes)


def encode(changes: Changes) -> bytes:
    return _ENCODER.encode(changes)


def decode(message: bytes) -> Changes:
    """Decode a message. Raises msgspec.DecodeError for anything that was not made by `encode`."""
    return decoded(_DECODER, message)


class Publisher:
    """Publishes the changes that one part of a process commits. It belongs to one event loop.

    Its methods take a function `changes`, which is called only if a message is sent. While no
    process listens, that is once per PROBE_S. Changes that cannot be published are counted, logged
    once per outage, and dropped; readers find them in the database.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._listeners = 0
        self._asked = float("-inf")
        self._waiting: list[Changes] = []
        self._sending: asyncio.Task[None] | None = None
        #: Number of consecutive failures to publish.
        self._failures = 0

    async def acknowledge(self, worker: UUID, ids: Sequence[UUID], changes: Callable[[], Changes]) -> None:
        """Remove ids of finished tasks from the worker's set of unacknowledged ids, and publish the
        changes, in one round trip.

        The outcomes of the tasks must be committed. Raises ServerUnavailable if the ids could not
        be removed.
        """
        made = self._made(changes)
        message = self._tried(lambda: encode(made)) if made else None
        if message is None:
            await self._queues.acknowledge(worker, ids)
            return
        pipe = self._queues.client.pipeline(transaction=False)
        if ids:
            pipe.srem(unacked_key(worker), *[each.bytes for each in ids])
        pipe.publish(self._queues.events_channel, message)
        try:
            *acknowledged, listeners = await answer_of(pipe.execute(raise_on_error=False))
        except Exception as error:
            self._note(error)
            raise
        self._note(listeners)
        for refusal in acknowledged:
            if isinstance(refusal, Exception):
                await answer_of(_raised(refusal))

    def soon(self, changes: Callable[[], Changes]) -> None:
        """Publish committed changes in the background, without making the caller wait for Redis."""
        if len(self._waiting) >= MAX_WAITING or not (made := self._made(changes)):
            return
        self._waiting.append(made)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for changes in _in_messages(waiting):
                if not await self._is_published(changes):
                    # Redis is unavailable, so the listeners have lost their subscriptions too and
                    # will read the rows.
                    self._waiting.clear()
                    return

    async def _is_published(self, changes: Changes) -> bool:
        try:
            publish = self._queues.client.publish(self._queues.events_channel, encode(changes))
            answer = await answer_of(publish)
        except Exception as error:  # noqa: BLE001 - a hint must not hurt what was committed
            answer = error
        self._note(answer)
        return not isinstance(answer, Exception)

    def _made(self, changes: Callable[[], Changes]) -> Changes | None:
        """Compute the changes if they have to be published now. Returns None otherwise."""
        made = self._tried(changes) if self._is_wanted() else None
        if made:
            self._asked = time.monotonic()
        return made

    def _tried(self, make: Callable[[], T]) -> T | None:
        """Call a function that creates changes. Returns None if it fails, because an error here
        must not affect what was committed.
        """
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - see above
            self._note(error)
            return None

    def _is_wanted(self) -> bool:
        is_due = self._listeners > 0 or time.monotonic() - self._asked >= PROBE_S
        return is_due and self._queues.system is not None

    def _note(self, answer: object) -> None:
        """Remember how many processes listen, or that publishing failed.

        Redis may refuse PUBLISH, because older versions of the platform's list of Redis users did
        not allow it.
        """
        if not isinstance(answer, Exception):
            if self._failures:
                log.info("publishing changes works again after %d failures", self._failures)
            self._failures = 0
            self._listeners = answer if isinstance(answer, int) else 0
            return
        metrics.PUBLISH_FAILURES.inc()
        if not self._failures:
            text = "changes cannot be published; event streams read rows until it works again: %s"
            log.warning(text, answer, exc_info=answer)
        self._failures += 1
        self._listeners, self._asked = 0, time.monotonic()


async def _raised(error: Exception) -> None:
    raise error


def _in_messages(waiting: Sequence[Changes]) -> Iterator[Changes]:
    """Split changes into as few messages as the limit MAX_CHANGES allows."""
    tasks = [task for changes in waiting for task in changes.tasks]
    logged = [task for changes in waiting for task in changes.logged]
    workflows = [workflow for changes in waiting for workflow in changes.workflows]
    for first in range(0, max(len(tasks), len(logged), len(workflows)), MAX_CHANGES):
        share = slice(first, first + MAX_CHANGES)
        yield Changes(tasks[share], logged[share], list(dict.fromkeys(workflows[share])))
