"""The live part of one API process: its loops, and what routes open."""

import time
from collections.abc import AsyncIterator, Coroutine
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
from services.api.live.log_feed import START, LogFeed, Position
from services.api.live.message import Told
from services.api.live.states import States
from services.api.live.stream import SIGNED_OUT, Stream
from services.api.live.subscription import Subscription
from services.api.live.task_stream import TaskStream
from services.api.live.viewer import Viewer
from services.api.live.waiting import Waiting
from shared.errors import TaskNotFound
from shared.keeper import Keeper
from shared.ledger.database import Database
from shared.transport.events import TaskChange
from shared.transport.queues import Queues

#: How often lists are sent what was collected for them.
TICK_S = 0.25
#: Interval at which the clock of each stream is checked.
CLOCK_S = 1.0
#: Intervals at which watched rows are read: normally, to catch changes that no message reported; while Redis
#: is away; and while publishers may not have found this process yet.
READ_S, READ_DEGRADED_S, READ_COLD_S = 5.0, 1.0, 0.25
#: Interval at which the rights of all viewers are checked: normally, and while no messages report changes.
RIGHTS_S, RIGHTS_DEGRADED_S = 15.0, 1.0


def keep_open(request: Request[Any, Any, Any], limit_s: float = 0.0) -> None:
    """Let a request last: its connection takes no other request's place, and its deadline moves by `limit_s`.

    Requests in tests may have neither a connection nor a deadline.
    """
    if STAYS_OPEN in request.scope:
        request.scope[STAYS_OPEN]()  # type: ignore[literal-required]
    if MORE_TIME in request.scope:
        request.scope[MORE_TIME](limit_s)  # type: ignore[literal-required]


class Live:
    """Building it connects to nothing."""

    def __init__(self, database: Database, queues: Queues, client: Redis, *, session_life_s: float) -> None:
        """`client` is for the subscription alone."""
        self.bus = Bus()
        self.states = States(database)
        self.waiting = Waiting(self.bus, self.states)
        self._database = database
        self._client = client
        self._session_life_s = session_life_s
        self._subscription = Subscription(queues, client, self.bus)
        self._feeds: WeakValueDictionary[UUID, LogFeed] = WeakValueDictionary()
        self._read_at = self._checked_at = self._clock_at = 0.0

    def loops(self, keeper: Keeper) -> list[Coroutine[Any, Any, None]]:
        return [
            keeper.keep("live subscription", self._subscription.run_once),
            keeper.keep("live lists", self._tick, every_s=TICK_S),
            keeper.keep("live states", self._read, every_s=TICK_S),
            keeper.keep("live rights", self._check, every_s=TICK_S),
        ]

    async def close(self) -> None:
        await self._subscription.close()
        await self._client.aclose()

    # Methods that routes call.

    async def state(self, task_id: UUID, reader: Reader) -> TaskChange:
        """The present state of a task. Raises TaskNotFound, also for a task that the reader may not see."""
        found = await self.states.of(task_id)
        if found is None or (reader.reach is not Reach.ALL and found.owner != reader.id):
            raise TaskNotFound(task_id)
        return found

    def feed(self, task_id: UUID, start: Position = START) -> LogFeed:
        """The lines of a task, shared by all who follow them."""
        feed = self._feeds.get(task_id)
        if feed is None:
            feed = self._feeds[task_id] = LogFeed(self._database, task_id, start)
        return feed

    async def frames(self, stream: Stream) -> AsyncIterator[bytes]:
        """What a stream sends, from its beginning to its end."""
        with self.bus.open(stream):
            await self.begin(stream)
            async for frame in stream.frames():
                yield frame

    async def begin(self, stream: Stream) -> None:
        """Read what a stream begins with, after it was opened: so nothing falls in between."""
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
        """Wait for the end of a task. Raises NotSignedIn when the caller has lost its rights meanwhile."""
        keep_open(request, limit_s)
        await self.waiting.until_ended(task_id, limit_s)
        if viewer.has_expired() or await viewers.over(self._database, [viewer], self._session_life_s):
            raise NotSignedIn(SIGNED_OUT)

    # The loops.

    async def _tick(self) -> None:
        self.bus.tick()
        now = time.monotonic()
        if now - self._clock_at >= CLOCK_S:
            self._clock_at = now
            for stream in self.bus.streams:
                stream.tick(now)

    async def _read(self) -> None:
        """Read watched rows when it is time, and workflows that have moved."""
        now = time.monotonic()
        is_due = now - self._read_at >= self._read_every_s()
        if is_due:
            self._read_at = now
            asked = list(self.bus.tasks)
            self.bus.take_read(asked, await self.states.tasks(asked))
            self.bus.take_logged(await log_feed.with_news(self._database, list(self._feeds.values())))
        workflows = list(self.bus.workflows) if is_due else list(self.bus.moved)
        self.bus.moved.clear()
        self.bus.take_workflows(workflows, await self.states.workflows(workflows))

    def _read_every_s(self) -> float:
        if self.bus.degraded:
            return READ_DEGRADED_S
        return READ_S if self.bus.is_warm else READ_COLD_S

    async def _check(self) -> None:
        """End the streams of those who may not look any longer."""
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
