"""Event streams that show many tasks: those of a list, or those of a workflow."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec

from services.api.live.message import Message, Told
from services.api.live.ring import Ring
from services.api.live.stream import RESYNC, Stream
from services.api.live.viewer import Viewer
from services.api.workflows.refusals import WorkflowNotFound
from services.api.workflows.schemas import WorkflowGraph
from shared.ledger.lifecycle import Status
from shared.telemetry import metrics
from shared.transport.events import TaskChange

#: Maximum number of tasks whose latest state a stream keeps between two events. For further tasks,
#: it only counts the changes.
MAX_TASKS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The filter of a list whose changes a client wants to receive. A field that is None does not
    filter.
    """

    status: frozenset[Status] | None = None
    name: str | None = None
    queue: str | None = None
    owner: int | None = None

    def takes(self, change: TaskChange) -> bool:
        return (
            (self.owner is None or change.owner == self.owner)
            and (self.name is None or change.name == self.name)
            and (self.queue is None or change.queue == self.queue)
            and (self.status is None or change.status in self.status)
        )


class ManyTasks(Stream):
    """Base class of streams of many tasks. It collects the latest state of each task until the bus
    flushes it.
    """

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(viewer)
        self._tasks: dict[UUID, Told] = {}
        self._overflow = 0
        #: True when the changes that the stream has collected may be sent to the client.
        self._flushed = False

    def offer(self, told: Told) -> None:
        known = self._tasks.get(told.change.id)
        if known is None and len(self._tasks) >= MAX_TASKS:
            self._overflow += 1
            metrics.STREAM_EVENTS_DROPPED.inc()
        elif known is None or told.change.revision > known.change.revision:
            self._tasks[told.change.id] = told
            metrics.STREAM_EVENTS_DROPPED.inc(known is not None)

    def flush(self) -> None:
        """Allow the stream to send the changes that it has collected. Called four times a second."""
        if self._has_news():
            self._flushed = True
            self.wake()

    def _has_news(self) -> bool:
        return bool(self._tasks)

    def _taken(self) -> dict[str, Any]:
        """Return the changes that the stream has collected, and start a new collection."""
        tasks, overflow = [msgspec.Raw(told.json) for told in self._tasks.values()], self._overflow
        self._tasks, self._overflow, self._flushed = {}, 0, False
        return {"tasks": tasks, "overflow": overflow}


class ListStream(ManyTasks):
    """The event stream of a list: the changes of all tasks that the caller may see and that match
    the filter.
    """

    kind = "list"

    def __init__(self, viewer: Viewer, reach: int | None, wanted: Wanted, last_id: str | None) -> None:
        """`reach` is the only owner whose tasks the caller may see, or None if the caller may see
        the tasks of all owners.
        """
        super().__init__(viewer)
        self.reach = reach
        self._wanted = wanted
        self._last_id = last_id
        #: The ring of recent messages. The bus sets it once the stream can miss no more changes;
        #: None before that.
        self._ring: Ring | None = None
        self._has_begun = False
        #: True if the client may have missed changes and the event `resync`, which says so, was not
        #: sent yet. Until then, no event has a new id: with it, a client that reconnects could not
        #: notice that it missed changes.
        self._is_behind = False

    def offer(self, told: Told) -> None:
        if self._wanted.takes(told.change) and self.reach in (None, told.change.owner):
            super().offer(told)

    def begin(self, ring: Ring) -> None:
        """Start the stream. From now on, it misses no change. Earlier changes that the client has
        missed are sent first.
        """
        self._ring = ring
        missed = [] if self._last_id is None else ring.after(self._last_id)
        if missed is None:
            self._is_behind = True
            self.notice("resync", RESYNC)
        for change in missed or ():
            self.offer(Told(change))
        self._flushed = True
        self.wake()

    def follow(self, ring: Ring) -> None:
        """Switch to a new ring of recent messages. After an outage of Redis, messages are numbered
        from the beginning again.
        """
        if self._ring is not None:
            self._ring = ring
            self._is_behind = True

    async def _news(self) -> list[Message]:
        if self._ring is None or not self._flushed:
            return []
        messages = []
        last_id = self._id()
        if not self._has_begun:
            self._has_begun = True
            # If collected changes follow this event, it has no id, only `since`. With a new id, a
            # client that disconnects between the two events would not get those changes when it
            # reconnects.
            messages.append(Message("state", {"since": self._ring.last_id}, None if self._tasks else last_id))
        if self._tasks:
            messages.append(Message("change", self._taken(), last_id))
        self._flushed = False
        return messages

    def _noticed(self) -> list[Message]:
        notices = super()._noticed()
        if any(notice.event == "resync" for notice in notices):
            self._is_behind = False
        return notices

    def _ping_id(self) -> str | None:
        return None if self._tasks else self._id()

    def _id(self) -> str | None:
        """Id of the newest message, for the client to remember. None as long as the client has to
        keep its last id.
        """
        return None if self._ring is None or self._is_behind else self._ring.last_id


class WorkflowStream(ManyTasks):
    """The event stream of a workflow: it sends the workflow with its steps, then its changes and
    those of its tasks, and then its end.
    """

    kind = "workflow"

    def __init__(
        self, viewer: Viewer, workflow_id: UUID, read: Callable[[], Awaitable[WorkflowGraph]]
    ) -> None:
        """The function `read` returns the current state of the workflow."""
        super().__init__(viewer)
        self.workflow_id = workflow_id
        self._read = read
        self._sent = -1
        self._row: Mapping[str, Any] | None = None
        self._flushed = True

    def offer_row(self, row: Mapping[str, Any]) -> None:
        """Receive the workflow's row from the database, with the columns of `states.WORKFLOWS`."""
        if row["revision"] > (self._sent if self._row is None else self._row["revision"]):
            self._row = row

    def forget(self) -> None:
        """Note that the workflow was deleted."""
        self.end("end", "The workflow was deleted.")

    def _has_news(self) -> bool:
        return super()._has_news() or self._row is not None

    async def _news(self) -> list[Message]:
        if not self._flushed:
            return []
        if self._sent < 0:
            return await self._first()
        row, self._row = self._row, None
        data = self._taken()
        if row is None or row["revision"] <= self._sent:
            return [Message("change", data, self._id())] if data["tasks"] else []
        self._sent = row["revision"]
        self._finish_with(row, row["status"])
        return [Message("change", {"workflow": row, **data}, self._id())]

    async def _first(self) -> list[Message]:
        try:
            graph = await self._read()
        except WorkflowNotFound:
            self.forget()
            return []
        self._sent = graph.revision
        self._flushed = False
        self._finish_with(graph, graph.status)
        return [Message("state", graph, self._id())]

    def _finish_with(self, data: Any, status: str) -> None:
        if status != "running":
            self._finish(data, self._id())

    def _id(self) -> str:
        return f"r{self._sent}"
