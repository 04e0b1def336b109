"""The API routes of bulk operations, which act on all tasks or workflows that match a filter:
preview, start, list and stop.
"""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.bulk import stopping
from services.api.bulk.bulk_acts import BulkActs
from services.api.bulk.bulk_view import BulkView
from services.api.bulk.schemas import BulkAnswer, BulkBody, BulkPage, BulkPreview, BulkStarted, BulkStopped
from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from shared.transport.events import Publisher
from shared.transport.queues import Queues


@post(
    "/bulk",
    summary="Act on all tasks or workflows that match a filter",
    operation_class=example(
        {
            "action": "retry",
            "filter": {"status": ["failure"], "name": ["system.health_check"]},
            "dry_run": True,
        }
    ),
    description="Send the request with `dry_run` first. The answer (200) has the number of matches, the "
    "newest ten of them and a `token`. Then send it without `dry_run`, with the token and `expected`. The "
    "answer is 202, and a worker carries out the operation; it is 409 if the number of matches has changed "
    "by more than 10 %. An empty filter is refused. The filter has the fields of GET /api/v1/tasks. Users "
    "may only cancel, and only what they own. `retry` and `release` refuse tasks of workflows; retry the "
    "workflow instead.",
    status_code=202,
    responses={
        200: ResponseSpec(BulkPreview, description="The preview"),
        **documented(400, 401, 403, 404, 409, 413, 504),
    },
)
async def act(
    data: JSONBody[BulkBody], reader: NamedDependency[Reader], bulk_acts: NamedDependency[BulkActs]
) -> Response[BulkPreview | BulkStarted]:
    if data.dry_run:
        return Response(await bulk_acts.preview(data, reader), status_code=200)
    bulk_id, task_id = await bulk_acts.start(data, reader)
    message = f"The operation starts within a second. GET /api/v1/bulk/{bulk_id} shows its progress."
    return Response(BulkStarted(bulk_id, task_id, message), status_code=202)


@get("/bulk", summary="List bulk operations, newest first", responses=documented(400, 401, 403))
async def list_bulk(
    request: Request[Any, Any, Any],
    reader: NamedDependency[Reader],
    bulk_view: NamedDependency[BulkView],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
) -> BulkPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor"))
    return await bulk_view.page(reader.owned_by, limit=limit, cursor=cursor)


@get("/bulk/{bulk_id:uuid}", summary="Look up a bulk operation", responses=documented(400, 401, 403, 404))
async def get_bulk(
    bulk_id: FromPath[UUID], reader: NamedDependency[Reader], bulk_view: NamedDependency[BulkView]
) -> BulkAnswer:
    return await bulk_view.find(bulk_id, reader)


@delete(
    "/bulk/{bulk_id:uuid}",
    summary="Stop a bulk operation",
    description="Changes that are already made stay. A chunk of up to 1,000 tasks or workflows that is in "
    "progress is either finished or undone.",
    status_code=202,
    responses=documented(400, 401, 403, 404, 409),
)
async def stop(
    bulk_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    bulk_acts: NamedDependency[BulkActs],
    bulk_view: NamedDependency[BulkView],
    queues: NamedDependency[Queues],
    publisher: NamedDependency[Publisher],
) -> BulkStopped:
    row = await bulk_acts.stop(await bulk_view.find(bulk_id, reader), reader)
    await stopping.announce(row, queues, publisher)
    return BulkStopped(bulk_id, "The operation stops within a second.")


ROUTER = Router("", route_handlers=[act, list_bulk, get_bulk, stop], tags=["bulk"])
