"""Reads event streams (server-sent events): parses them, and decides when to connect again. It does
no I/O itself.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from often_client.answers import LogLine, TaskState
from often_client.errors import UnexpectedAnswer, error_of
from often_client.exchange import (
    MAX_PAUSE_S,
    RETRYABLE,
    UNAUTHORIZED,
    Call,
    Reply,
    Request,
    Session,
    Unreachable,
    api_away,
    request_of,
)

EVENT_STREAM = "text/event-stream"
#: Time limit in seconds for a silent connection. The API sends at least a comment every 15 s, so a
#: connection that is silent for longer is dead.
SILENCE_S = 45.0
#: Number of failed connections in a row after which a stream gives up. Between them, the API asks
#: for pauses of 1 to 5 s.
MAX_FAILURES = 10
#: Pause in seconds before the next connection of a stream, until the API asks for another pause.
PAUSE_S = 1.0


class _Lines(Struct):
    lines: list[LogLine]


class _Changes(Struct):
    tasks: list[TaskState] = []  # the list is not shared: msgspec copies the default for each instance


class Event(Struct):
    """One event of an event stream. docs/api.md lists the names of events and what `data`
    contains.
    """

    event: str
    data: Any
    id: str | None = None

    @property
    def task(self) -> TaskState | None:
        """The state of the task, in an event of a stream of one task; None in other events."""
        if isinstance(self.data, dict) and "task_id" in self.data and "status" in self.data:
            return msgspec.convert(self.data, TaskState)
        return None

    @property
    def tasks(self) -> list[TaskState]:
        """The changed tasks, in an event of a stream of all tasks or of a workflow; empty in other
        events.
        """
        return msgspec.convert(self.data, _Changes).tasks if self.event == "change" else []

    @property
    def lines(self) -> list[LogLine]:
        """The log lines, in an event named `lines`; empty in other events."""
        return msgspec.convert(self.data, _Lines).lines if self.event == "lines" else []


class Follow:
    """One event stream, which may use several connections one after another."""

    def __init__(self, session: Session, call: Call[Any]) -> None:
        self._session = session
        self._call = call
        self._partial_line = b""
        self._fields: dict[str, str] = {}
        self._last_id: str | None = None
        self._failures = 0
        self._usual_pause_s = PAUSE_S
        #: Seconds to wait before the next connection of the stream.
        self.pause_s = PAUSE_S
        self.is_over = False

    def request(self) -> Request:
        """The request that opens the next connection of the stream."""
        self._partial_line, self._fields = b"", {}
        self.pause_s = self._usual_pause_s
        request = request_of(self._session, self._call)
        headers = {**request.headers, "Accept": EVENT_STREAM}
        if self._last_id is not None:
            headers["Last-Event-ID"] = self._last_id
        return Request(request.method, request.path, request.query, headers, None, SILENCE_S)

    def opened(self, reply: Reply) -> bool:
        """Process the answer to `request`. Returns True if events follow. Raises ApiError."""
        if reply.status == 200 and reply.media_type == EVENT_STREAM:
            self._failures = 0
            return True
        if reply.status == 204:
            self.is_over = True
        elif reply.is_error:
            self._refused(reply)
        else:
            raise UnexpectedAnswer.foreign(reply.status)
        return False

    def broke(self, cause: Unreachable) -> None:
        """Record that the connection failed. Raises ApiAway after too many failures in a row."""
        self._failures += 1
        if self._failures > MAX_FAILURES or not cause.may_pass:
            raise api_away(cause.cause) from cause.cause

    def read(self, received: bytes) -> Iterator[Event]:
        """Parse received bytes, and yield the events that are complete. Raises ApiError.

        Lines end with a line feed only: a JSON text may contain other separators that Python's
        splitlines() knows, such as U+2028.
        """
        *lines, self._partial_line = (self._partial_line + received).split(b"\n")
        for line in lines:
            event = self._take(line.decode(errors="replace").removesuffix("\r"))
            if event is not None:
                yield event

    def may_renew(self, reply: Reply) -> bool:
        """Whether the API refused an expired access token that can be replaced."""
        return reply.status == UNAUTHORIZED and self._session.is_renewable

    def _take(self, line: str) -> Event | None:
        """Process a line of the stream. An empty line completes an event, which is returned."""
        name, _, value = line.partition(":")
        if name:
            self._fields[name] = value.removeprefix(" ")
        return None if line else self._complete()

    def _complete(self) -> Event | None:
        fields, self._fields = self._fields, {}
        self._last_id = fields.get("id", self._last_id)
        if fields.get("retry", "").isdecimal():
            self._usual_pause_s = self.pause_s = min(float(fields["retry"]) / 1000, MAX_PAUSE_S)
        if "data" not in fields:
            return None
        try:
            data = msgspec.json.decode(fields["data"])
        except msgspec.DecodeError as error:
            raise UnexpectedAnswer.unreadable(200, error) from error
        name = fields.get("event", "message")
        self.is_over = name == "end"
        return Event(name, data, self._last_id)

    def _refused(self, reply: Reply) -> None:
        """Process a refusal: plan another connection, or raise ApiError if that would not help."""
        self._failures += 1
        asked_s = reply.retry_after_s or 0.0
        will_pass = reply.status in RETRYABLE and asked_s <= MAX_PAUSE_S
        if self._failures > MAX_FAILURES or not (will_pass or self.may_renew(reply)):
            raise error_of(reply.status, reply.content, reply.retry_after_s)
        self.pause_s = max(asked_s, PAUSE_S)
