"""Streams a task's log lines and status to a client until the task ends.

The events have the format of the application that this platform replaced.
"""

from collections.abc import AsyncIterator, Iterator
from typing import Any

from services.api.live import message as sse
from services.api.live.message import Message, Told
from services.api.live.task_stream import TaskStream
from shared.ledger.lifecycle import FINAL


class LogStream(TaskStream):
    """The event stream of one task: a `connected` event, `log` and `status` events, then
    `completed`.

    The stream ends with an error if the viewer signs out or loses the account or the role.
    """

    async def frames(self) -> AsyncIterator[bytes]:
        yield sse.written([Message("connected", {"task_id": self.task_id})])
        async for messages in self.deliveries():
            yield sse.written(_old(messages)) if messages else sse.PING


def _old(messages: list[Message]) -> Iterator[Message]:
    """Convert messages to events in the format of the replaced application.

    A message that has no equivalent in that format is dropped.
    """
    for message in messages:
        if message.event == "lines":
            yield from (Message("log", line) for line in message.data["lines"])
        elif message.event == "expired":
            yield Message("error", {"message": message.data["detail"]})
        elif message.event in ("state", "change") and message.data.change.status not in FINAL:
            yield Message("status", _status(message.data))
        elif message.event == "end":
            yield Message("completed", _status(message.data))


def _status(data: Any) -> dict[str, Any]:
    if not isinstance(data, Told):  # If the task was deleted, the data needs no conversion
        return dict(data)
    state = sse.state_of(data.change)
    return {
        "status": state.status,
        "progress_percentage": state.progress_percentage,
        "progress_message": state.progress_message,
    }
