"""Server-sent events: what one message of a stream holds, and how it is written."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.api.http.schemas import Answer
from services.api.tasks.ledger_view import percentage
from shared.transport.events import TaskChange

#: A comment, which no client shows: proxies and clients see that the connection lives.
PING = b": ping\n\n"


class TaskState(Answer):
    """A task in a stream: the fields of a task that change while it runs, under their names there."""

    task_id: UUID
    #: Goes up with each visible change. The newest one counts.
    revision: int
    status: str
    task_name: str
    queue: str
    owner: int | None
    progress_current: int
    progress_total: int
    progress_percentage: int
    progress_message: str | None
    workflow: UUID | None
    step: str | None


class Told:
    """A change, encoded once for all streams that send it."""

    __slots__ = ("_json", "change")

    def __init__(self, change: TaskChange) -> None:
        self.change = change
        self._json: bytes | None = None

    @property
    def json(self) -> bytes:
        if self._json is None:
            self._json = msgspec.json.encode(state_of(self.change))
        return self._json


class Message(NamedTuple):
    """One event. `data` is a `Told`, or anything that JSON can hold."""

    event: str
    data: Any
    #: The client sends it as `Last-Event-ID` when it reconnects; None keeps the previous one.
    id: str | None = None


def state_of(change: TaskChange) -> TaskState:
    fields = msgspec.structs.asdict(change)
    return TaskState(
        task_id=fields.pop("id"),
        task_name=fields.pop("name"),
        progress_percentage=percentage(fields),
        **fields,
    )


def opening(retry_ms: int) -> bytes:
    """How long a client waits before it comes back by itself."""
    return b"retry: %d\n\n" % retry_ms


def written(messages: Iterable[Message]) -> bytes:
    """Messages as they go over the connection. JSON has no line breaks of its own."""
    return b"".join(_written(message) for message in messages)


def ping(last_id: str | None) -> bytes:
    """A sign of life. The id goes on even where nothing else is sent for long."""
    return PING if last_id is None else b": ping\nid: %b\n\n" % last_id.encode()


def encoded(data: Any) -> bytes:
    return data.json if isinstance(data, Told) else msgspec.json.encode(data)


def _written(message: Message) -> bytes:
    head = b"" if message.id is None else b"id: %b\n" % message.id.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, message.event.encode(), encoded(message.data))
