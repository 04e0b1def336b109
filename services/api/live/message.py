"""The messages of an event stream, and their encoding as server-sent events."""

from collections.abc import Iterable
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from services.api.http.schemas import Answer
from services.api.tasks.ledger_view import percentage
from shared.transport.events import TaskChange

#: A comment line of a server-sent event stream, which clients ignore. It shows proxies and clients
#: that the connection is alive.
PING = b": ping\n\n"


class TaskState(Answer):
    """The state of a task in an event: the fields that change while the task runs. They have the
    same names as in other answers of the API.
    """

    task_id: UUID
    #: Number that increases with each visible change of the task. The state with the highest
    #: revision is the newest.
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
    """A change of a task. It is encoded as JSON only once for all streams that send it."""

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
    """One event of a stream. `data` is an encoded change of a task (`Told`), or any JSON value."""

    event: str
    data: Any
    #: Id of the event, which the client sends as `Last-Event-ID` when it reconnects. None leaves
    #: the client's last id unchanged.
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
    """The first message of a stream, which says how long a client should wait before it reconnects."""
    return b"retry: %d\n\n" % retry_ms


def written(messages: Iterable[Message]) -> bytes:
    """Encode messages as bytes for the connection. Their JSON contains no line breaks, because a
    line break ends a field of an event.
    """
    return b"".join(_written(message) for message in messages)


def ping(last_id: str | None) -> bytes:
    """A keep-alive message. It can also carry a new id for the client if no event was sent for a
    long time.
    """
    return PING if last_id is None else b": ping\nid: %b\n\n" % last_id.encode()


def encoded(data: Any) -> bytes:
    return data.json if isinstance(data, Told) else msgspec.json.encode(data)


def _written(message: Message) -> bytes:
    head = b"" if message.id is None else b"id: %b\n" % message.id.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (head, message.event.encode(), encoded(message.data))
