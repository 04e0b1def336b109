"""The event stream of one task, which sends its state, its changes, its log lines, and its end."""

import re
from uuid import UUID

from services.api.live.log_feed import SHARE, START, LogFeed, Position
from services.api.live.message import Message, Told
from services.api.live.stream import Stream
from services.api.live.viewer import Viewer
from shared.ledger.lifecycle import FINAL
from shared.telemetry import metrics

_ID = re.compile(r"r(\d{1,9})\.(\d{1,9})\.(\d{1,9})")


def parse_id(last_id: str | None) -> tuple[int, Position]:
    """Parse the id of the last event that a client received into a revision and a log position.

    If the id has another format, the result precedes all revisions and log lines.
    """
    found = _ID.fullmatch(last_id or "")
    if found is None:
        return -1, START
    revision, claim, ordinal = map(int, found.groups())
    return revision, Position(claim, ordinal)


class TaskStream(Stream):
    """The event stream of one task. It sends a state before the log lines that were committed with
    it, and the end of the task after all log lines.
    """

    kind = "task"

    def __init__(
        self,
        viewer: Viewer,
        task_id: UUID,
        *,
        feed: LogFeed | None = None,
        levels: frozenset[str] = frozenset(),
        seen: Position = START,
    ) -> None:
        """If `feed` is given, the stream also sends log lines of these levels that come after the
        position `seen`.
        """
        super().__init__(viewer)
        self.task_id = task_id
        self.feed = feed
        self._levels = levels
        self._seen = seen
        self._newest: Told | None = None
        #: The last revision of the task that was sent.
        self._sent = -1

    def offer(self, told: Told) -> None:
        """Receive a state of the task. It is ignored unless it is newer than the last one."""
        known = self._newest.change.revision if self._newest is not None else -1
        if told.change.revision > known:
            if known > self._sent:
                metrics.STREAM_EVENTS_DROPPED.inc()
            self._newest = told
            self.wake()

    def note_lines(self) -> None:
        """Note that the task may have new log lines."""
        if self.feed is not None:
            self.feed.note_new()
            self.wake()

    def forget(self) -> None:
        """Note that the task was deleted."""
        self.end("end", "The task was deleted.")

    async def _news(self) -> list[Message]:
        told, before = self._newest, self._seen
        if told is None:
            return []
        lines = await self.feed.after(before) if self.feed is not None else []
        messages = []
        if told.change.revision > self._sent:
            event = "state" if self._sent < 0 else "change"
            self._sent = told.change.revision
            messages.append(Message(event, told, self._id()))
        if lines:
            self._seen = lines[-1].position
        if shown := [each.line for each in lines if each.line.level in self._levels]:
            messages.append(Message("lines", {"lines": shown}, self._id()))
        if len(lines) == SHARE:
            self.wake()
        elif told.change.status in FINAL and told is self._newest:
            self._finish(told, self._id())
        return messages

    def _id(self) -> str:
        return f"r{self._sent}.{self._seen.claim}.{self._seen.ordinal}"
