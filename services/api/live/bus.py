"""Everything that is open in this process: each change goes to the streams that it concerns.

It knows whether changes arrive. While Redis is away, and for a moment after, `Live` reads rows instead.
"""

import asyncio
import logging
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from uuid import UUID

import msgspec

from services.api.http.connections import MAX_STREAMS
from services.api.http.refusals import Refusal
from services.api.live.list_stream import ListStream, ManyTasks, WorkflowStream
from services.api.live.message import Told
from services.api.live.ring import Ring
from services.api.live.stream import Stream
from services.api.live.task_stream import TaskStream
from services.api.live.viewer import Viewer
from shared.ledger.lifecycle import FINAL
from shared.telemetry import metrics
from shared.transport.events import PROBE_S, Changes, TaskChange, decode

log = logging.getLogger(__name__)

#: Streams of one account in one process.
MAX_OF_ACCOUNT = 20
#: A process that has just subscribed is found by publishers within PROBE_S; until then rows are read instead.
WARM_S = 2 * PROBE_S
#: The subscription is kept for this long after the last stream: its client may come back.
LINGER_S = 60.0


class TooManyStreams(Refusal):
    """The account or this process has as many streams as it may have."""

    status, kind = 503, "too-many-streams"

    def __init__(self, limit: int, of: str) -> None:
        super().__init__(
            f"{of} has {limit} event streams open, which is the limit. Close one, or try again shortly."
        )
        self.headers = {"Retry-After": "5"}


class Watcher(Protocol):
    """What the bus tells those that watch one task."""

    def offer(self, told: Told) -> None:
        """A state of the task."""

    def note_lines(self) -> None:
        """The task may have logged."""

    def forget(self) -> None:
        """The task was deleted."""

    def stop(self) -> None:
        """This process stops."""


class Bus:
    """Used by one event loop."""

    def __init__(self) -> None:
        self.ring = Ring(secrets.token_hex(4))
        self.streams: set[Stream] = set()
        self.tasks: dict[UUID, set[Watcher]] = defaultdict(set)
        self.workflows: dict[UUID, set[WorkflowStream]] = defaultdict(set)
        #: Lists by the one owner whose tasks they show; None: of all owners.
        self.lists: dict[int | None, set[ListStream]] = defaultdict(set)
        #: Lists that may still miss something.
        self._cold: set[ListStream] = set()
        #: Workflows that have moved since they were last read.
        self.moved: set[UUID] = set()
        #: The rights of some account have changed since all rights were last checked.
        self.in_doubt = False
        self.degraded = False
        self._heard_since: float | None = None
        self._of_account: Counter[int] = Counter()
        self._used_until = float("-inf")
        self._needed = asyncio.Event()
        self.has_ended = False

    # Open streams.

    def check_room(self, account: int) -> None:
        """Raises TooManyStreams."""
        if len(self.streams) >= MAX_STREAMS:
            raise TooManyStreams(MAX_STREAMS, "This process of the API")
        if self._of_account[account] >= MAX_OF_ACCOUNT:
            raise TooManyStreams(MAX_OF_ACCOUNT, "Your account")

    @contextmanager
    def open(self, stream: Stream) -> Iterator[None]:
        """Changes go to the stream inside."""
        account = stream.viewer.account
        self.streams.add(stream)
        self._of_account[account] += 1
        metrics.STREAMS_OPEN.labels(stream.kind).inc()
        if self.degraded:
            stream.degrade()
        if self.has_ended:
            stream.stop()
        try:
            with self._found(stream):
                yield
        finally:
            self.streams.discard(stream)
            self._of_account[account] -= 1
            if not self._of_account[account]:
                del self._of_account[account]
            metrics.STREAMS_OPEN.labels(stream.kind).dec()

    @contextmanager
    def watch(self, task_id: UUID, watcher: Watcher) -> Iterator[None]:
        """Changes of one task go to the watcher inside."""
        with self._use(), _member(self.tasks, task_id, watcher):
            yield

    @contextmanager
    def _found(self, stream: Stream) -> Iterator[None]:
        """The stream is where changes look for it."""
        if isinstance(stream, TaskStream):
            with self.watch(stream.task_id, stream):
                yield
        elif isinstance(stream, WorkflowStream):
            with self._use(), _member(self.workflows, stream.workflow_id, stream):
                yield
        elif isinstance(stream, ListStream):
            with self._use(), _member(self.lists, stream.reach, stream):
                self._begin(stream)
                try:
                    yield
                finally:
                    self._cold.discard(stream)

    @contextmanager
    def _use(self) -> Iterator[None]:
        self._needed.set()
        try:
            yield
        finally:
            self._used_until = time.monotonic() + LINGER_S
            if not (self.tasks or self.workflows or self.lists):
                self._needed.clear()

    @property
    def is_used(self) -> bool:
        return self._needed.is_set() or time.monotonic() < self._used_until

    async def wait_for_use(self, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            await self._needed.wait()

    # Incoming messages.

    def take_message(self, message: bytes) -> None:
        """Pass on the changes in a message. Any client of Redis may publish, so it may hold anything."""
        try:
            changes = decode(message)
        except msgspec.MsgspecError as error:
            log.warning("ignored a message that holds no changes: %s", error)
            return
        self.ring.append(message, len(changes.tasks))
        self._take(changes)

    def _take(self, changes: Changes) -> None:
        for change in changes.tasks:
            many = self._many(change)
            if many or change.id in self.tasks:
                told = Told(change)
                self._tell(told)
                for stream in many:
                    stream.offer(told)
        self.take_logged(changes.logged)
        self.moved.update(self.workflows.keys() & set(changes.workflows))

    def _many(self, change: TaskChange) -> list[ManyTasks]:
        """Streams of many tasks that a change may concern."""
        found: list[ManyTasks] = []
        if self.workflows and change.workflow is not None:
            found += self.workflows.get(change.workflow, ())
        if self.lists:
            found += self.lists.get(None, ())
            if change.owner is not None:
                found += self.lists.get(change.owner, ())
        return found

    def take_read(self, asked: Iterable[UUID], found: Mapping[UUID, TaskChange]) -> None:
        """States of watched tasks that were read; a task that was not found was deleted."""
        for task_id in asked:
            if task_id in found:
                self._tell(Told(found[task_id]))
            else:
                for watcher in tuple(self.tasks.get(task_id, ())):
                    watcher.forget()

    def take_logged(self, task_ids: Iterable[UUID]) -> None:
        """Tasks that have new lines."""
        for task_id in task_ids:
            for watcher in self.tasks.get(task_id, ()):
                watcher.note_lines()

    def take_workflows(self, asked: Iterable[UUID], found: Mapping[UUID, Mapping[str, Any]]) -> None:
        for workflow_id in asked:
            for stream in tuple(self.workflows.get(workflow_id, ())):
                if workflow_id in found:
                    stream.offer_row(found[workflow_id])
                else:
                    stream.forget()

    def _tell(self, told: Told) -> None:
        """Tell those that watch this one task."""
        watchers = self.tasks.get(told.change.id, ())
        for watcher in watchers:
            watcher.offer(told)
        if told.change.status in FINAL:
            for watcher in watchers:
                watcher.note_lines()

    # State of the subscription.

    @property
    def is_warm(self) -> bool:
        """True once every publisher has found this process."""
        return self._heard_since is not None and time.monotonic() - self._heard_since >= WARM_S

    def hear(self) -> None:
        """Messages arrive from here on. What came before is not known."""
        self._heard_since = time.monotonic()
        self.ring = Ring(secrets.token_hex(4))
        self.degraded = False
        for stream in self.streams:
            stream.recover(WARM_S)
        for lists in self.lists.values():
            for each in lists:
                each.follow(self.ring)

    def lose(self, *, degraded: bool = True) -> None:
        """No messages arrive: Redis is away, or this process has no subscription."""
        self._heard_since = None
        self.degraded = degraded
        if degraded:
            for stream in self.streams:
                stream.degrade()

    def tick(self) -> None:
        """Called each quarter of a second: send what was collected for lists."""
        for stream in tuple(self._cold):
            self._begin(stream)
        collecting: tuple[set[ListStream] | set[WorkflowStream], ...]
        collecting = (*self.lists.values(), *self.workflows.values())
        for streams in collecting:
            for each in streams:
                each.flush()

    def _begin(self, stream: ListStream) -> None:
        """Lists cannot be repaired by reading rows, so they begin when nothing can be missed any more."""
        if self.is_warm or self.degraded:
            self._cold.discard(stream)
            stream.begin(self.ring)
        else:
            self._cold.add(stream)

    # How it ends.

    def dismiss(self, viewers: Iterable[Viewer], detail: str) -> None:
        """End the streams of those who may not look any longer."""
        dismissed = set(viewers)
        for stream in self.streams:
            if stream.viewer in dismissed:
                stream.end("expired", detail)

    def end(self) -> None:
        """The process stops: end all streams, and each one that is opened from here on."""
        self.has_ended = True
        for stream in self.streams:
            stream.stop()
        for watchers in self.tasks.values():
            for watcher in watchers:
                watcher.stop()


@contextmanager
def _member(sets: Any, key: Any, member: Any) -> Iterator[None]:
    sets[key].add(member)
    try:
        yield
    finally:
        sets[key].discard(member)
        if not sets[key]:
            del sets[key]
