"""The API routes of the event streams of one task, of one workflow, and of all tasks that the
caller may see.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.response import Stream as StreamResponse

from services.api.http import paging
from services.api.http.errors import documented
from services.api.identity.rights import Reach, Reader
from services.api.live.list_stream import ListStream, Wanted, WorkflowStream
from services.api.live.live import Live, keep_open
from services.api.live.log_feed import levels_from
from services.api.live.task_stream import TaskStream, parse_id
from services.api.live.viewer import Viewer
from services.api.tasks.lookup_routes import Level
from services.api.tasks.task_routes import Name
from services.api.workflows.view import WorkflowView
from shared.ledger.lifecycle import FINAL, Status

#: HTTP headers that keep proxies from buffering, storing or compressing an event stream.
HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform"}
EVENT_STREAM = "text/event-stream"

Header = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", max_length=100, description="The id of the last event received"),
]
Query = Annotated[
    str | None,
    QueryParameter(max_length=100, description="Last-Event-ID, for clients that cannot send headers"),
]


@get(
    "/tasks/{task_id:uuid}/events",
    summary="Follow a task",
    description="Server-sent events: state, change, lines and, last, end. docs/api.md explains them.",
    media_type=EVENT_STREAM,
    responses={
        **documented(400, 401, 403, 404),
        204: ResponseSpec(
            None, description="The client has received the end of the stream and should not reconnect"
        ),
    },
)
async def task_events(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    logs: Annotated[
        Level | None, QueryParameter(description="Also send log lines of this level and above")
    ] = None,
    header: Header = None,
    last_event_id: Query = None,
) -> StreamResponse:
    revision, seen = parse_id(header or last_event_id)
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        now = await live.state(task_id, reader)
        feed = live.feed(task_id) if logs is not None else None
        if now.status in FINAL and now.revision == revision and not (feed and await feed.after(seen)):
            return StreamResponse(iter(()), status_code=204)
        levels = frozenset[str]() if logs is None else levels_from(logs)
        stream = TaskStream(viewer, task_id, feed=feed, levels=levels, seen=seen)
        return answer(request, await live.frames(stream, room.pop_all()))


@get(
    "/workflows/{workflow_id:uuid}/events",
    summary="Follow a workflow",
    description="Server-sent events: state, change and, last, end. docs/api.md explains them.",
    media_type=EVENT_STREAM,
    responses={
        **documented(400, 401, 403, 404),
        204: ResponseSpec(
            None, description="The client has received the end of the stream and should not reconnect"
        ),
    },
)
async def workflow_events(
    request: Request[Any, Any, Any],
    workflow_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    workflows: NamedDependency[WorkflowView],
    header: Header = None,
    last_event_id: Query = None,
) -> StreamResponse:
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        now = await workflows.find(workflow_id, reader)
        if now.completed_at is not None and f"r{now.revision}" == (header or last_event_id):
            return StreamResponse(iter(()), status_code=204)
        stream = WorkflowStream(viewer, workflow_id, lambda: workflows.graph(workflow_id, reader))
        return answer(request, await live.frames(stream, room.pop_all()))


@get(
    "/events",
    summary="Follow all tasks that you may see",
    description="Server-sent events: state first. Read your list when it arrives, and apply each change to "
    "it. docs/api.md explains the events.",
    media_type=EVENT_STREAM,
    responses=documented(400, 401, 403),
)
async def events(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    status: Annotated[
        list[Status] | None,
        QueryParameter(max_items=len(Status), description="Any of these states; may be given several times"),
    ] = None,
    name: Name = None,
    queue: Name = None,
    owner: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    header: Header = None,
    last_event_id: Query = None,
) -> StreamResponse:
    paging.refuse_unknown(request.query_params, ("status", "name", "queue", "owner", "last_event_id"))
    wanted = Wanted(status=frozenset(status) if status else None, name=name, queue=queue, owner=owner)
    reach = None if reader.reach is Reach.ALL else reader.id
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        stream = ListStream(viewer, reach, wanted, header or last_event_id)
        return answer(request, await live.frames(stream, room.pop_all()))


def answer(request: Request[Any, Any, Any], frames: AsyncIterator[bytes]) -> StreamResponse:
    """Return the HTTP response that sends an event stream."""
    keep_open(request)
    return StreamResponse(frames, media_type=EVENT_STREAM, headers=HEADERS)


ROUTER = Router("", route_handlers=[task_events, workflow_events, events], tags=["events"])
