"""The event stream of one client.

The bus adds changes to it, and the client's own coroutine sends them as fast as the client reads. A
stream keeps only the latest state of each task, so a slow client gets fewer but newer states.
"""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from services.api.live import message as sse
from services.api.live.message import Message
from services.api.live.viewer import Viewer
from shared.errors import ServerUnavailable
from shared.telemetry import metrics

#: Seconds without an event after which a stream sends a keep-alive comment.
PING_S = 15.0
#: Pause in seconds after each delivery. Changes that arrive during the pause are sent together.
GAP_S = 0.05
#: Pause in seconds before a failed read is repeated.
RETRY_READ_S = 1.0
#: After an outage of Redis, each stream tells its client with `resync` to read the data again. Each
#: stream does so at a random time within this number of seconds, so that the clients do not all
#: read at once.
RESYNC_SPREAD_S = 5.0
#: How long a client waits before it reconnects when this process stops, in milliseconds: the first
#: number, plus a random part of the second.
RETURN_MS, RETURN_SPREAD_MS = 1_000, 4_000

BYE = "This process of the API is stopping. Open the stream again."
TOKEN_OVER = "Your access token has expired. Renew it, then open the stream again with the last id."
SIGNED_OUT = "Your session, your account or your role has ended. Sign in, then open the stream again."
DEGRADED = (
    "Redis is unavailable. Changes of single tasks arrive within a second or two, those of lists later."
)
RESYNC = "Changes may have been missed. Read the data that you show again."


class Bell:
    """Wakes the one coroutine that waits for it. Unlike `asyncio.Event`, it has no queue of
    waiters, which would take 0.8 kB per stream.
    """

    __slots__ = ("_has_rung", "_waiter")

    def __init__(self) -> None:
        self._has_rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        self._has_rung = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait until `ring` has been called since the last wait."""
        if not self._has_rung:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self._has_rung = False


class Stream(ABC):
    """Base class of event streams."""

    kind: str

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        #: True if the client has been sent the message that Redis is unavailable.
        self.degraded = False
        self._bell = Bell()
        self._notices: dict[str, str] = {}
        self._last: Message | None = None
        #: True if the viewer has lost its rights. Then only the last message, which says so, may
        #: still be sent.
        self._is_dismissed = False
        self._pings = False
        self._spoke = time.monotonic()
        self._resync_at: float | None = None

    # The methods below are called by the bus.

    def notice(self, event: str, detail: str) -> None:
        """Send this event after the collected changes. An event that is already queued is not
        queued again.
        """
        self._notices[event] = detail
        self.wake()

    def degrade(self) -> None:
        """Note that Redis is unavailable, and tell the client."""
        self._resync_at = None
        self._notices.pop("resync", None)
        if not self.degraded:
            self.degraded = True
            self.notice("degraded", DEGRADED)

    def recover(self, after_s: float) -> None:
        """Note that Redis is available again. After `after_s` seconds, no change can be missed any
        more.
        """
        if self.degraded:
            self.degraded = False
            self._notices.pop("degraded", None)
            self._resync_at = time.monotonic() + after_s + random.uniform(0, RESYNC_SPREAD_S)

    def end(self, event: str, detail: str) -> None:
        """End the stream: send this last event after the collected changes. Only the first call has
        an effect.
        """
        if self._last is None:
            self._last = Message(event, {"detail": detail})
            self.wake()

    def dismiss(self, detail: str) -> None:
        """End the stream because its viewer has lost its rights. Nothing that is queued is sent,
        not even the end of the task.
        """
        if not self._is_dismissed:
            self._is_dismissed = True
            self._last = Message("expired", {"detail": detail})
            self.wake()

    def stop(self) -> None:
        """End the stream because this process is stopping."""
        self.end("bye", BYE)

    def tick(self, now: float) -> None:
        """Queue the messages that are due by the clock, such as a keep-alive. Called about once a
        second.
        """
        if self.viewer.has_expired():
            self.dismiss(TOKEN_OVER)
        if self._resync_at is not None and now >= self._resync_at:
            self._resync_at = None
            self.notice("resync", RESYNC)
        if now - self._spoke >= PING_S:
            self._pings = True
            self.wake()

    def wake(self) -> None:
        self._bell.ring()

    # The methods below serve the client's connection.

    async def frames(self) -> AsyncIterator[bytes]:
        """Yield the bytes to send over the client's connection until the stream ends."""
        yield sse.opening(RETURN_MS + random.randrange(RETURN_SPREAD_MS))
        async for messages in self.deliveries():
            yield sse.written(messages) if messages else sse.ping(self._ping_id())
            del messages  # Frees the memory of the messages while the stream waits

    async def deliveries(self) -> AsyncIterator[list[Message]]:
        """Yield groups of messages that are sent together. An empty group asks for a keep-alive
        message.
        """
        self.wake()
        is_over = False
        while not is_over:
            await self._bell.wait()
            pause_s = GAP_S
            try:
                messages = await self._messages()
            except ServerUnavailable:  # The changes were not taken and will be read again
                messages, pause_s = self._noticed_and_last(), RETRY_READ_S
                self.wake()
            is_over = bool(messages) and messages[-1] is self._last
            if messages or self._pings:
                self._note_sent(messages)
                yield messages
            del messages
            if not is_over:
                await asyncio.sleep(pause_s)

    async def _messages(self) -> list[Message]:
        """Return the messages to send now. Raises ServerUnavailable."""
        news = [] if self._is_dismissed else await self._news()
        # Check again, because the viewer may have lost its rights during the read.
        return [*([] if self._is_dismissed else news), *self._noticed_and_last()]

    def _noticed_and_last(self) -> list[Message]:
        noticed = [] if self._is_dismissed else self._noticed()
        return [*noticed, *([self._last] if self._last else [])]

    def _noticed(self) -> list[Message]:
        notices, self._notices = self._notices, {}
        return [Message(event, {"detail": detail}) for event, detail in notices.items()]

    @abstractmethod
    async def _news(self) -> list[Message]:
        """Return the changes since the last call. They may include the end of the stream. Raises
        ServerUnavailable.
        """

    def _ping_id(self) -> str | None:
        """The event id that a keep-alive message carries."""
        return None

    def _finish(self, data: Any, last_id: str | None) -> None:
        """Note that the task or workflow has ended, so that the stream ends after its next
        messages.
        """
        if self._last is None:
            self._last = Message("end", data, last_id)

    def _note_sent(self, messages: list[Message]) -> None:
        self._pings = False
        self._spoke = time.monotonic()
        for message in messages:
            metrics.STREAM_EVENTS.labels(message.event).inc()
