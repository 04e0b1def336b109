"""A task's log lines and status under the names of the old application, until it ends."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID

from services.api.live import message as sse
from services.api.live.live import Live
from services.api.live.log_feed import levels_from
from services.api.live.message import Message, Told
from services.api.live.task_stream import TaskStream
from services.api.live.viewer import Viewer
from shared.ledger.lifecycle import FINAL


async def frames(live: Live, task_id: UUID, viewer: Viewer, level: str) -> AsyncIterator[bytes]:
    """Yield connected; then log and status as they come; then completed.

    The stream ends with an error when the reader signs out, or loses the account or the role.
    """
    yield sse.written([Message("connected", {"task_id": task_id})])
    stream = TaskStream(viewer, task_id, feed=live.feed(task_id), levels=levels_from(level))
    with live.bus.open(stream):
        await live.begin(stream)
        async for messages in stream.deliveries():
            yield sse.written(_old(messages)) if messages else sse.PING


def _old(messages: list[Message]) -> Iterator[Message]:
    """The same in the words of the old application, which has none for the rest."""
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
    if not isinstance(data, Told):  # the task was deleted
        return dict(data)
    state = sse.state_of(data.change)
    return {
        "status": state.status,
        "progress_percentage": state.progress_percentage,
        "progress_message": state.progress_message,
    }
