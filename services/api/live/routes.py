"""Event streams: of one task, of one workflow, and of all tasks that the caller may see."""

from collections.abc import AsyncIterator
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

#: No proxy on the way collects, stores or compresses a stream.
HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store, no-transform"}
EVENT_STREAM = "text/event-stream"

Header = Annotated[
    str | None,
    HeaderParameter(name="Last-Event-ID", max_length=100, description="The id of the last event received"),
]
Query = Annotated[
    str | None, QueryParameter(max_length=100, description="The same, for clients that cannot send headers")
]


@get(
    "/tasks/{task_id:uuid}/events",
    summary="Follow a task",
    description="Server-sent events: state first, then change and lines, and end. docs/api.md explains them.",
    media_type=EVENT_STREAM,
    responses={
        **documented(400, 401, 403, 404),
        204: ResponseSpec(None, description="The client has seen the end, and need not come back"),
    },
)
async def task_events(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    logs: Annotated[Level | None, QueryParameter(description="Also send lines, from this level on")] = None,
    header: Header = None,
    last_event_id: Query = None,
) -> StreamResponse:
    revision, seen = parse_id(header or last_event_id)
    live.bus.check_room(viewer.account)
    now = await live.state(task_id, reader)
    feed = live.feed(task_id, seen) if logs is not None else None
    if now.status in FINAL and now.revision == revision and not (feed and await feed.after(seen)):
        return StreamResponse(iter(()), status_code=204)
    levels = frozenset[str]() if logs is None else levels_from(logs)
    return answer(request, live.frames(TaskStream(viewer, task_id, feed=feed, levels=levels, seen=seen)))


@get(
    "/workflows/{workflow_id:uuid}/events",
    summary="Follow a workflow",
    description="Server-sent events: state first, then change, and end. docs/api.md explains them.",
    media_type=EVENT_STREAM,
    responses={
        **documented(400, 401, 403, 404),
        204: ResponseSpec(None, description="The client has seen the end, and need not come back"),
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
    live.bus.check_room(viewer.account)
    now = await workflows.find(workflow_id, reader)
    if now.completed_at is not None and f"r{now.revision}" == (header or last_event_id):
        return StreamResponse(iter(()), status_code=204)
    stream = WorkflowStream(viewer, workflow_id, lambda: workflows.graph(workflow_id, reader))
    return answer(request, live.frames(stream))


@get(
    "/events",
    summary="Follow all tasks that you may see",
    description="Server-sent events: state first; read your list then, and apply each change to it. "
    "docs/api.md explains them.",
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
        QueryParameter(max_items=len(Status), description="Any of these; give it several times"),
    ] = None,
    name: Name = None,
    queue: Name = None,
    owner: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    header: Header = None,
    last_event_id: Query = None,
) -> StreamResponse:
    paging.refuse_unknown(request.query_params, ("status", "name", "queue", "owner", "last_event_id"))
    live.bus.check_room(viewer.account)
    wanted = Wanted(status=frozenset(status) if status else None, name=name, queue=queue, owner=owner)
    reach = None if reader.reach is Reach.ALL else reader.id
    return answer(request, live.frames(ListStream(viewer, reach, wanted, header or last_event_id)))


def answer(request: Request[Any, Any, Any], frames: AsyncIterator[bytes]) -> StreamResponse:
    """The answer that sends a stream."""
    keep_open(request)
    return StreamResponse(frames, media_type=EVENT_STREAM, headers=HEADERS)


ROUTER = Router("", route_handlers=[task_events, workflow_events, events], tags=["events"])
