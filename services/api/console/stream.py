"""Event streams for console pages. They are the same as those of services/api/live, but opened with
the session cookie.
"""

from contextlib import ExitStack
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream as StreamResponse

from services.api.identity.rights import Reach, Reader
from services.api.live import routes as live_routes
from services.api.live.list_stream import ListStream, Wanted
from services.api.live.live import Live
from services.api.live.log_feed import levels_from
from services.api.live.task_stream import TaskStream, parse_id
from services.api.live.viewer import Viewer


@get("/stream", media_type=live_routes.EVENT_STREAM)
async def stream(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    name: Annotated[str | None, QueryParameter(max_length=100)] = None,
    queue: Annotated[str | None, QueryParameter(max_length=100)] = None,
    owner: Annotated[int | None, QueryParameter(ge=1, le=2**63 - 1)] = None,
    last_event_id: live_routes.Query = None,
    header: live_routes.Header = None,
) -> StreamResponse:
    """Stream the changes of all tasks that the caller may see."""
    wanted = Wanted(name=name, queue=queue, owner=owner)
    reach = None if reader.reach is Reach.ALL else reader.id
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        follows = ListStream(viewer, reach, wanted, header or last_event_id)
        return live_routes.answer(request, await live.frames(follows, room.pop_all()))


@get("/tasks/{task_id:uuid}/stream", media_type=live_routes.EVENT_STREAM)
async def task_stream(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    viewer: NamedDependency[Viewer],
    live: NamedDependency[Live],
    last_event_id: live_routes.Query = None,
    header: live_routes.Header = None,
) -> StreamResponse:
    """Stream the changes and log lines of one task.

    In place of the last event's id, the page sends the position of the last log line that it shows.
    """
    _, seen = parse_id(header or last_event_id)
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        await live.state(task_id, reader)
        levels = levels_from("debug")
        follows = TaskStream(viewer, task_id, feed=live.feed(task_id), levels=levels, seen=seen)
        return live_routes.answer(request, await live.frames(follows, room.pop_all()))
