"""The API routes that list, quiet, drain and recycle workers."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from services.api.http import paging
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.schemas import ReasonBody
from services.api.identity.rights import Reader
from services.api.operations.schemas import WorkerAsked, WorkerPage
from services.api.operations.workers import Asked, Workers

MESSAGES = {
    Asked.QUIET: "It takes no new tasks and stays. Recycle it to let it work again.",
    Asked.DRAIN: "It finishes what it runs, gives back the rest and ends.",
    Asked.RECYCLE: "It finishes what it runs, gives back the rest and starts again under another id.",
}


@get(
    "/workers",
    summary="List workers with their running tasks",
    responses=documented(400, 401, 403, 504),
)
async def list_workers(
    request: Request[Any, Any, Any],
    workers: NamedDependency[Workers],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 50,
    cursor: Annotated[str | None, QueryParameter(description="next_cursor of an earlier answer")] = None,
    dead: Annotated[
        bool, QueryParameter(description="Also list workers that ended within the last week")
    ] = False,
) -> WorkerPage:
    paging.refuse_unknown(request.query_params, ("limit", "cursor", "dead"))
    return await workers.page(dead=dead, limit=limit, cursor=cursor)


def _asking(asked: Asked, summary: str, description: str) -> Any:
    """Create the route that sends one kind of request, such as drain, to a worker."""

    @post(
        f"/workers/{{worker_id:uuid}}/{asked}",
        summary=summary,
        description=description,
        operation_class=example({"reason": "its host is shut down tonight"}, optional=True),
        status_code=202,
        responses=documented(400, 401, 403, 404, 409, 413),
    )
    async def ask(
        worker_id: FromPath[UUID],
        reader: NamedDependency[Reader],
        workers: NamedDependency[Workers],
        data: JSONBody[ReasonBody | None] = None,
    ) -> WorkerAsked:
        await workers.ask(worker_id, asked, data.reason if data else None, reader)
        return WorkerAsked(worker_id, asked, MESSAGES[asked])

    return ask


quiet = _asking(
    Asked.QUIET, "Quiet a worker", "It takes no new tasks, gives back those it has not started, and stays."
)
drain = _asking(
    Asked.DRAIN,
    "Drain a worker",
    "It ends as after SIGTERM, with exit code 0. Most supervisors then start another one.",
)
recycle = _asking(Asked.RECYCLE, "Recycle a worker", "It is replaced, as after OFTEN_WORKER_MAX_TASKS.")
