"""Tells processes that listen what has been committed: tasks that changed, and workflows that moved.

A message is a hint. Its states are absolute and carry their revision, so the newest one counts, and a process
that misses a message reads the row. Postgres holds the facts.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self
from uuid import UUID

import msgspec
from redis.exceptions import ResponseError

from shared.errors import ServerUnavailable
from shared.transport.answers import answer_of
from shared.transport.keys import unacked_key
from shared.transport.queues import Queues

log = logging.getLogger(__name__)

#: While no process listens, one message is published in this time, and its answer says whether one does now.
PROBE_S = 0.5
#: Changes of one message: 60 kB.
MAX_CHANGES = 1_000
#: Commits whose changes wait for Redis; those of further ones are dropped, and found in the rows.
MAX_WAITING = 1_000


class TaskChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The state of a task at one revision, as lists show it to every user who may see the task."""

    id: UUID
    #: Goes up with each visible change.
    revision: int
    status: str
    name: str
    queue: str
    owner: int | None = None
    progress_current: int = 0
    progress_total: int = 100
    progress_message: str | None = None
    workflow: UUID | None = None
    step: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """A row with the columns of `shared.ledger.transitions.changed`."""
        return cls(**{name: row[name] for name in cls.__struct_fields__})


class Changes(msgspec.Struct, frozen=True, array_like=True):
    """What one message says. Later releases add fields at the end."""

    tasks: Sequence[TaskChange] = ()
    #: Tasks that have new log lines.
    logged: Sequence[UUID] = ()
    #: Workflows whose revision went up.
    workflows: Sequence[UUID] = ()

    def __bool__(self) -> bool:
        return bool(self.tasks or self.logged or self.workflows)


_ENCODER = msgspec.msgpack.Encoder(uuid_format="bytes")
_DECODER = msgspec.msgpack.Decoder(Changes)


def encode(changes: Changes) -> bytes:
    return _ENCODER.encode(changes)


def decode(message: bytes) -> Changes:
    """Raises msgspec.MsgspecError for anything that `encode` did not make."""
    return _DECODER.decode(message)


def channel(queues: Queues) -> str:
    """Names the system, because all databases of a Redis share their channels."""
    return f"often:events:{queues.system.hex if queues.system else ''}"


class Publisher:
    """Publishes what one part of a process commits. For one event loop.

    `changes` is called only when a message is sent: without a listener that is once in PROBE_S.
    """

    def __init__(self, queues: Queues) -> None:
        self._queues = queues
        self._listeners = 0
        self._asked = float("-inf")
        self._waiting: list[Changes] = []
        self._sending: asyncio.Task[None] | None = None

    async def acknowledge(self, worker: UUID, ids: Sequence[UUID], changes: Callable[[], Changes]) -> None:
        """Forget fetched ids whose outcome is committed, and publish, in one round trip.

        Raises ServerUnavailable when the ids could not be forgotten.
        """
        message = self._message(changes)
        if message is None:
            await self._queues.acknowledge(worker, ids)
            return
        pipe = self._queues.client.pipeline(transaction=False)
        if ids:
            pipe.srem(unacked_key(worker), *[each.bytes for each in ids])
        pipe.publish(channel(self._queues), message)
        *acknowledged, listeners = await answer_of(pipe.execute(raise_on_error=False))
        self._note(listeners)
        for refusal in acknowledged:
            if isinstance(refusal, Exception):
                await answer_of(_raised(refusal))

    def soon(self, changes: Callable[[], Changes]) -> None:
        """Publish after what has been committed, without waiting for Redis."""
        if not self._is_wanted() or len(self._waiting) >= MAX_WAITING:
            return
        self._asked = time.monotonic()
        self._waiting.append(changes())
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send_waiting())

    async def _send_waiting(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            for changes in _in_messages(waiting):
                try:
                    listeners = await answer_of(
                        self._queues.client.publish(channel(self._queues), encode(changes))
                    )
                except ServerUnavailable:  # the subscriptions are gone as well, so rows are read
                    self._waiting.clear()
                    listeners = 0
                self._note(listeners)

    def _message(self, changes: Callable[[], Changes]) -> bytes | None:
        made = changes() if self._is_wanted() else None
        if not made:
            return None
        self._asked = time.monotonic()
        return encode(made)

    def _is_wanted(self) -> bool:
        is_due = self._listeners > 0 or time.monotonic() - self._asked >= PROBE_S
        return is_due and self._queues.system is not None

    def _note(self, listeners: object) -> None:
        """Remember the answer to PUBLISH. An older list of Redis' users does not allow the command."""
        if isinstance(listeners, ResponseError):
            log.warning("Redis refuses PUBLISH: %s; event streams read rows instead", listeners)
        self._listeners = listeners if isinstance(listeners, int) else 0


async def _raised(error: Exception) -> None:
    raise error


def _in_messages(waiting: Sequence[Changes]) -> Iterator[Changes]:
    """The same in few messages of bounded size."""
    tasks = [task for changes in waiting for task in changes.tasks]
    logged = [task for changes in waiting for task in changes.logged]
    workflows = [workflow for changes in waiting for workflow in changes.workflows]
    for first in range(0, max(len(tasks), len(logged), len(workflows)), MAX_CHANGES):
        share = slice(first, first + MAX_CHANGES)
        yield Changes(tasks[share], logged[share], list(dict.fromkeys(workflows[share])))
