"""Passes each change of a task to the open event streams of this process that show the task.

The bus knows whether messages from Redis arrive. While Redis is unavailable, and for a moment
afterwards, `Live` reads rows from Postgres instead.
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

#: Maximum number of open event streams of one account in one process.
MAX_OF_ACCOUNT = 20
#: Seconds after which every publisher has noticed a new subscription (they look every PROBE_S
#: seconds). Until then, changes are also read from Postgres.
WARM_S = 2 * PROBE_S
#: Seconds for which the subscription is kept after the last stream has ended, because its client
#: may reconnect.
LINGER_S = 60.0


class TooManyStreams(Refusal):
    """Raised when an event stream cannot be opened, because the account or this process has the
    maximum number of them.
    """

    status, kind = 503, "too-many-streams"

    def __init__(self, limit: int, of: str) -> None:
        super().__init__(
            f"{of} has {limit} event streams open, which is the limit. Close one, or try again shortly."
        )
        self.headers = {"Retry-After": "5"}


class Watcher(Protocol):
    """Receives the changes of one task: an event stream of the task, or a request that waits for
    its end.
    """

    def offer(self, told: Told) -> None:
        """Receive a new state of the watched task."""

    def note_lines(self) -> None:
        """Note that the watched task may have new log lines."""

    def forget(self) -> None:
        """Note that the watched task was deleted."""

    def stop(self) -> None:
        """Note that this process is stopping."""


class Bus:
    """All open event streams of one process. Use it only from one event loop."""

    def __init__(self) -> None:
        self.ring = Ring(secrets.token_hex(4))
        self.streams: set[Stream] = set()
        self.tasks: dict[UUID, set[Watcher]] = defaultdict(set)
        self.workflows: dict[UUID, set[WorkflowStream]] = defaultdict(set)
        #: Event streams of lists, by the owner whose tasks they show. The key None is for lists
        #: that show the tasks of all owners.
        self.lists: dict[int | None, set[ListStream]] = defaultdict(set)
        #: Event streams of lists that have not begun, because they could still miss changes.
        self._cold: set[ListStream] = set()
        #: Watched workflows that have changed since their rows were last read.
        self.moved: set[UUID] = set()
        #: True if the rights of some account may have changed since the rights of all viewers were
        #: last checked.
        self.in_doubt = False
        self.degraded = False
        self._heard_since: float | None = None
        #: Number of open streams for each account, including those that requests are about to open.
        self._of_account: Counter[int] = Counter()
        self._used_until = float("-inf")
        self._needed = asyncio.Event()
        self.has_ended = False

    # The methods below open and close event streams.

    @contextmanager
    def reserve(self, account: int) -> Iterator[None]:
        """Reserve room for one event stream of an account, so that simultaneous requests cannot
        exceed the limit.

        Raises TooManyStreams.
        """
        if self._of_account.total() >= MAX_STREAMS:
            raise TooManyStreams(MAX_STREAMS, "This process of the API")
        if self._of_account[account] >= MAX_OF_ACCOUNT:
            raise TooManyStreams(MAX_OF_ACCOUNT, "Your account")
        self._of_account[account] += 1
        try:
            yield
        finally:
            self._of_account[account] -= 1
            if not self._of_account[account]:
                del self._of_account[account]

    @contextmanager
    def open(self, stream: Stream) -> Iterator[None]:
        """Pass changes to this event stream as long as the context lasts."""
        self.streams.add(stream)
        metrics.STREAMS_OPEN.labels(stream.kind).inc()
        if self.degraded:
            stream.degrade()
        if self.has_ended:
            stream.stop()
        followers, key = self._followers(stream)
        self._add(followers, key, stream)
        if isinstance(stream, ListStream):
            self._begin(stream)
        try:
            yield
        finally:
            self._remove(followers, key, stream)
            self._cold.discard(stream)
            self.streams.discard(stream)
            metrics.STREAMS_OPEN.labels(stream.kind).dec()

    @contextmanager
    def watch(self, task_id: UUID, watcher: Watcher) -> Iterator[None]:
        """Pass the changes of one task to the watcher as long as the context lasts."""
        self._add(self.tasks, task_id, watcher)
        try:
            yield
        finally:
            self._remove(self.tasks, task_id, watcher)

    def _followers(self, stream: Stream) -> tuple[Any, Any]:
        """Return the map in which the bus keeps this kind of stream, and the stream's key in that
        map.
        """
        if isinstance(stream, WorkflowStream):
            return self.workflows, stream.workflow_id
        if isinstance(stream, ListStream):
            return self.lists, stream.reach
        assert isinstance(stream, TaskStream)
        return self.tasks, stream.task_id

    def _add(self, followers: Any, key: Any, follower: object) -> None:
        followers[key].add(follower)
        self._needed.set()

    def _remove(self, followers: Any, key: Any, follower: object) -> None:
        followers[key].discard(follower)
        if not followers[key]:
            del followers[key]
        self._used_until = time.monotonic() + LINGER_S
        if not (self.tasks or self.workflows or self.lists):
            self._needed.clear()

    @property
    def is_used(self) -> bool:
        return self._needed.is_set() or time.monotonic() < self._used_until

    async def wait_for_use(self, timeout_s: float) -> None:
        async with asyncio.timeout(timeout_s):
            await self._needed.wait()

    # The methods below distribute incoming changes to the streams.

    def take_message(self, message: bytes) -> None:
        """Distribute the changes in a message from Redis. Any client of Redis may publish, so the
        message may contain anything.
        """
        try:
            changes = decode(message)
        except msgspec.DecodeError as error:
            log.warning("ignored an invalid message on the Redis channel of task changes: %s", error)
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
        """The streams of lists and workflows that may show this change."""
        found: list[ManyTasks] = []
        if self.workflows and change.workflow is not None:
            found += self.workflows.get(change.workflow, ())
        if self.lists:
            found += self.lists.get(None, ())
            if change.owner is not None:
                found += self.lists.get(change.owner, ())
        return found

    def take_read(self, asked: Iterable[UUID], found: Mapping[UUID, TaskChange]) -> None:
        """Distribute the states of tasks in `asked`, which were read from the database. Tasks that
        were not found have been deleted.
        """
        for task_id in asked:
            if task_id in found:
                self._tell(Told(found[task_id]))
            else:
                for watcher in tuple(self.tasks.get(task_id, ())):
                    watcher.forget()

    def take_logged(self, task_ids: Iterable[UUID]) -> None:
        """Tell the watchers of these tasks that there are new log lines."""
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
        """Pass a change of one task to the watchers of this task."""
        watchers = self.tasks.get(told.change.id, ())
        for watcher in watchers:
            watcher.offer(told)
        if told.change.status in FINAL:
            for watcher in watchers:
                watcher.note_lines()

    # The methods below track whether messages from Redis arrive.

    @property
    def is_warm(self) -> bool:
        """True once every publisher has noticed the subscription of this process."""
        return self._heard_since is not None and time.monotonic() - self._heard_since >= WARM_S

    def hear(self) -> None:
        """Note that messages from Redis arrive from now on. Earlier messages were missed."""
        self._heard_since = time.monotonic()
        self.ring = Ring(secrets.token_hex(4))
        self.degraded = False
        for stream in self.streams:
            stream.recover(WARM_S)
        for lists in self.lists.values():
            for each in lists:
                each.follow(self.ring)

    def lose(self, *, degraded: bool = True) -> None:
        """Note that no messages arrive, because Redis is unavailable or this process has no
        subscription.
        """
        self._heard_since = None
        self.degraded = degraded
        if degraded:
            for stream in self.streams:
                stream.degrade()

    def tick(self) -> None:
        """Let the streams of lists and workflows send the changes that they have collected. Called
        four times a second.
        """
        for stream in tuple(self._cold):
            self._begin(stream)
        collecting: tuple[set[ListStream] | set[WorkflowStream], ...]
        collecting = (*self.lists.values(), *self.workflows.values())
        for streams in collecting:
            for each in streams:
                each.flush()

    def _begin(self, stream: ListStream) -> None:
        """Start the event stream of a list, once it can miss no change. Unlike a stream of one
        task, it cannot catch up by reading rows from Postgres.
        """
        if self.is_warm or self.degraded:
            self._cold.discard(stream)
            stream.begin(self.ring)
        else:
            self._cold.add(stream)

    # The methods below end event streams.

    def dismiss(self, viewers: Iterable[Viewer], detail: str) -> None:
        """End the event streams of viewers that have lost their rights."""
        dismissed = set(viewers)
        for stream in self.streams:
            if stream.viewer in dismissed:
                stream.dismiss(detail)

    def end(self) -> None:
        """End all streams because the process is stopping, including those that are opened later."""
        self.has_ended = True
        for stream in self.streams:
            stream.stop()
        for watchers in self.tasks.values():
            for watcher in watchers:
                watcher.stop()
