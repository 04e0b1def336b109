"""What one client is sent. The bus notes what is new; the client's own task takes it when it can send.

A stream holds the latest state of each task only, so a slow client gets fewer and newer states.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from services.api.live import message as sse
from services.api.live.message import Message
from services.api.live.viewer import Viewer
from shared.errors import ServerUnavailable
from shared.telemetry import metrics

#: A stream that was silent for this long sends a comment.
PING_S = 15.0
#: Pause after each delivery: what happens meanwhile is one delivery.
GAP_S = 0.05
#: Pause before a read that failed is tried again.
RETRY_READ_S = 1.0
#: When Redis is back, streams send `resync` at random moments within this time. Their clients would
#: otherwise all read at once.
RESYNC_SPREAD_S = 5.0
#: When this process stops, clients reconnect after the first time plus a random part of the second.
RETURN_MS, RETURN_SPREAD_MS = 1_000, 4_000

BYE = "This process of the API stops. Open the stream again."
TOKEN_OVER = "Your access token has expired. Renew it, then open the stream again with the last id."
SIGNED_OUT = "Your session, your account or your role has ended. Sign in, then open the stream again."
DEGRADED = "Redis is away. Changes of single tasks arrive within a second or two, those of lists later."
RESYNC = "Changes may have been missed. Read what you show once."


class Stream:
    """Base of the kinds of streams."""

    kind: str

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        #: Told to the client that Redis is away.
        self.degraded = False
        self._wake = asyncio.Event()
        self._notices: dict[str, str] = {}
        self._last: Message | None = None
        self._pings = False
        self._spoke = time.monotonic()
        self._resync_at: float | None = None

    # Methods that the bus calls.

    def notice(self, event: str, detail: str) -> None:
        """Send this after what is new; twice the same before it is sent is once."""
        self._notices[event] = detail
        self.wake()

    def degrade(self) -> None:
        """Redis is away."""
        self._resync_at = None
        self._notices.pop("resync", None)
        if not self.degraded:
            self.degraded = True
            self.notice("degraded", DEGRADED)

    def recover(self, after_s: float) -> None:
        """Redis is back, and no message is missed any more after `after_s`."""
        if self.degraded:
            self.degraded = False
            self._notices.pop("degraded", None)
            self._resync_at = time.monotonic() + after_s + random.uniform(0, RESYNC_SPREAD_S)

    def end(self, event: str, detail: str) -> None:
        """The last event of the stream; what is new goes before it. The first end stands."""
        if self._last is None:
            self._last = Message(event, {"detail": detail})
            self.wake()

    def stop(self) -> None:
        """This process stops."""
        self.end("bye", BYE)

    def tick(self, now: float) -> None:
        """Called about once a second."""
        if self.viewer.has_expired():
            self.end("expired", TOKEN_OVER)
        if self._resync_at is not None and now >= self._resync_at:
            self._resync_at = None
            self.notice("resync", RESYNC)
        if now - self._spoke >= PING_S:
            self._pings = True
            self.wake()

    def wake(self) -> None:
        self._wake.set()

    # Methods that serve the client's connection.

    async def frames(self) -> AsyncIterator[bytes]:
        """What goes over the connection, until the stream ends."""
        yield sse.opening(RETURN_MS + random.randrange(RETURN_SPREAD_MS))
        async for messages in self.deliveries():
            yield sse.written(messages) if messages else sse.ping(self._ping_id())

    async def deliveries(self) -> AsyncIterator[list[Message]]:
        """Messages that go together; none at all is a sign of life."""
        self.wake()
        while True:
            await self._wake.wait()
            self._wake.clear()
            pause_s = GAP_S
            try:
                news = await self._news()
            except ServerUnavailable:  # nothing was taken; it is read again
                news, pause_s = [], RETRY_READ_S
                self.wake()
            messages = [*news, *self._noticed(), *([self._last] if self._last else [])]
            if messages or self._pings:
                self._note_sent(messages)
                yield messages
            if messages and messages[-1] is self._last:
                return
            await asyncio.sleep(pause_s)

    def _noticed(self) -> list[Message]:
        notices, self._notices = self._notices, {}
        return [Message(event, {"detail": detail}) for event, detail in notices.items()]

    async def _news(self) -> list[Message]:
        """What is new since the last call. May end the stream. Raises ServerUnavailable."""
        raise NotImplementedError

    def _ping_id(self) -> str | None:
        """The id that goes on with a sign of life."""
        return None

    def _finish(self, data: Any, last_id: str | None) -> None:
        """What it shows has ended: the next delivery is the last one."""
        if self._last is None:
            self._last = Message("end", data, last_id)

    def _note_sent(self, messages: list[Message]) -> None:
        self._pings = False
        self._spoke = time.monotonic()
        for message in messages:
            metrics.STREAM_EVENTS.labels(message.event).inc()
