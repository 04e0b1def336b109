"""Manages the event streams of one API process: the background loops behind them, and the methods
that routes call.
"""

import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from contextlib import ExitStack
from typing import Any
from uuid import UUID
from weakref import WeakValueDictionary

from litestar import Request
from redis.asyncio import Redis

from services.api.http.connection import STAYS_OPEN
from services.api.http.errors import NotSignedIn
from services.api.http.passage import MORE_TIME
from services.api.identity.rights import Reach, Reader
from services.api.live import log_feed
from services.api.live import viewer as viewers
from services.api.live.bus import Bus
from services.api.live.log_feed import LogFeed
from services.api.live.message import Told
from services.api.live.states import States
from services.api.live.stream import SIGNED_OUT, Stream
from services.api.live.task_stream import TaskStream
from services.api.live.viewer import Viewer
from services.api.live.waiting import Waiting
from shared.errors import TaskNotFound
from shared.keeper import Keeper
from shared.ledger.database import Database
from shared.transport.events import TaskChange
from shared.transport.queues import Queues
from shared.transport.subscription import WAIT_S, Subscription

#: Interval in seconds at which streams of lists and workflows send the changes that they have
#: collected.
TICK_S = 0.25
#: Interval in seconds at which each stream checks whether an event is due.
CLOCK_S = 1.0
#: Intervals in seconds at which the rows of watched tasks are read: normally, to catch changes that
#: no message reported; while Redis is unavailable; and while publishers may not know this process
#: yet.
READ_S, READ_DEGRADED_S, READ_COLD_S = 5.0, 1.0, 0.25
#: Intervals in seconds at which the rights of all viewers are checked: normally, and while no
#: messages report changes.
RIGHTS_S, RIGHTS_DEGRADED_S = 15.0, 1.0


def keep_open(request: Request[Any, Any, Any], limit_s: float = 0.0) -> None:
    """Let a request stay open for up to `limit_s` seconds.

    Its connection no longer counts toward the limit of connections, and its deadline moves by this
    time. In tests, a request may have neither a connection nor a deadline.
    """
    if STAYS_OPEN in request.scope:
        request.scope[STAYS_OPEN]()  # type: ignore[literal-required]
    if MORE_TIME in request.scope:
        request.scope[MORE_TIME](limit_s)  # type: ignore[literal-required]


class Live:
    """All event streams of one process. Creating an instance opens no connection."""

    def __init__(self, database: Database, queues: Queues, client: Redis, *, session_life_s: float) -> None:
        """`client` is a Redis client that is used only to subscribe to messages about changes."""
        self.bus = Bus()
        self.states = States(database)
        self.waiting = Waiting(self.bus, self.states)
        self._database = database
        self._client = client
        self._session_life_s = session_life_s
        self._subscription = Subscription(
            queues,
            lambda: queues.events_channel,
            client=client,
            opened=self.bus.hear,
            lost=self.bus.lose,
        )
        self._feeds: WeakValueDictionary[UUID, LogFeed] = WeakValueDictionary()
        self._read_at = self._checked_at = self._clock_at = 0.0

    def loops(self, keeper: Keeper) -> list[Coroutine[Any, Any, None]]:
        return [
            keeper.keep("live subscription", self._listen),
            keeper.keep("live lists", self._tick, every_s=TICK_S),
            keeper.keep("live states", self._read, every_s=TICK_S),
            keeper.keep("live rights", self._check, every_s=TICK_S),
        ]

    async def close(self) -> None:
        await self._subscription.close()
        await self._client.aclose()

    # The methods below are called by routes.

    async def state(self, task_id: UUID, reader: Reader) -> TaskChange:
        """Return the current state of a task. Raises TaskNotFound, also if the caller may not see
        the task.
        """
        found = await self.states.of(task_id)
        if found is None or (reader.reach is not Reach.ALL and found.owner != reader.id):
            raise TaskNotFound(task_id)
        return found

    def feed(self, task_id: UUID) -> LogFeed:
        """Return the reader of a task's log lines, which all event streams of the task share."""
        feed = self._feeds.get(task_id)
        if feed is None:
            feed = self._feeds[task_id] = LogFeed(self._database, task_id)
        return feed

    async def frames(self, stream: Stream, room: ExitStack) -> AsyncIterator[bytes]:
        """Open a stream and yield everything that it sends, from its beginning to its end.

        `room` is the reservation from `Bus.reserve`. It is released when the stream ends, and also
        if the stream is never read, because Python closes a dropped generator only if it has begun.
        Raises ServerUnavailable.
        """
        frames = self._frames(stream, room)
        await anext(frames)
        return frames

    async def _frames(self, stream: Stream, room: ExitStack) -> AsyncGenerator[bytes, None]:
        with room, self.bus.open(stream):
            await self.begin(stream)
            yield b""  # From here on, this generator releases the reservation
            async for frame in stream.frames():
                yield frame

    async def begin(self, stream: Stream) -> None:
        """Read the current state for a stream that was already opened, so that no change in between
        is missed.
        """
        if isinstance(stream, TaskStream):
            now = await self.states.of(stream.task_id)
            stream.note_lines()
            if now is None:
                stream.forget()
            else:
                stream.offer(Told(now))

    async def wait(
        self, request: Request[Any, Any, Any], viewer: Viewer, task_id: UUID, limit_s: float
    ) -> None:
        """Wait for the end of a task. Raises NotSignedIn if the caller loses its rights while it
        waits.
        """
        keep_open(request, limit_s)
        await self.waiting.until_ended(task_id, limit_s)
        if viewer.has_expired() or await viewers.over(self._database, [viewer], self._session_life_s):
            raise NotSignedIn(SIGNED_OUT)

    # The methods below run as background loops.

    async def _listen(self) -> None:
        """Receive messages from Redis while streams are open, and for a minute after the last
        stream, and pass them to the streams. Raises ServerUnavailable.
        """
        if self.bus.is_used:
            message = await self._subscription.next()
            if message is not None:
                self.bus.take_message(message)
            return
        if await self._subscription.close():
            self.bus.lose(degraded=False)
        with contextlib.suppress(TimeoutError):
            await self.bus.wait_for_use(WAIT_S)

    async def _tick(self) -> None:
        self.bus.tick()
        now = time.monotonic()
        if now - self._clock_at >= CLOCK_S:
            self._clock_at = now
            for stream in self.bus.streams:
                stream.tick(now)

    async def _read(self) -> None:
        """Read the rows of watched tasks when they are due, and the rows of workflows that have
        changed. Raises ServerUnavailable.
        """
        now = time.monotonic()
        is_due = now - self._read_at >= self._read_every_s()
        if is_due:
            asked = list(self.bus.tasks)
            self.bus.take_read(asked, await self.states.tasks(asked))
            self.bus.take_logged(await log_feed.with_news(self._database, list(self._feeds.values())))
        # If a workflow changes while its row is being read, it is added to the new set and read
        # again.
        moved, self.bus.moved = self.bus.moved, set()
        try:
            await self._read_workflows(self.bus.workflows if is_due else moved)
        except BaseException:
            self.bus.moved |= moved
            raise
        if is_due:
            self._read_at = now

    async def _read_workflows(self, ids: Iterable[UUID]) -> None:
        asked = list(ids)
        self.bus.take_workflows(asked, await self.states.workflows(asked))

    def _read_every_s(self) -> float:
        if self.bus.degraded:
            return READ_DEGRADED_S
        return READ_S if self.bus.is_warm else READ_COLD_S

    async def _check(self) -> None:
        """End the event streams of viewers that have lost their rights."""
        now = time.monotonic()
        every_s = RIGHTS_DEGRADED_S if self.bus.degraded else RIGHTS_S
        if now - self._checked_at < every_s and not self.bus.in_doubt:
            return
        self.bus.in_doubt = False
        try:
            asked = [stream.viewer for stream in self.bus.streams]
            over = await viewers.over(self._database, asked, self._session_life_s)
        except BaseException:
            self.bus.in_doubt = True
            raise
        self._checked_at = now
        self.bus.dismiss(over, SIGNED_OUT)
