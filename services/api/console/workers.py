"""The console's page of workers: the host of each one, the tasks that it runs, and the forms to
quiet, drain and recycle it.
"""

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, notices
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.operations.workers import Asked, Workers

PATH: Final = "/console/workers"
PAGE_SIZE: Final = 50
#: The message shown after each request to a worker.
_ANSWERS: Final = {
    Asked.QUIET: "The worker takes nothing new from now on.",
    Asked.DRAIN: "The worker finishes what it runs and ends.",
    Asked.RECYCLE: "The worker finishes what it runs and starts again under a new id.",
}


@get("/workers")
async def list_workers(
    request: Request[Any, Any, Any],
    workers: NamedDependency[Workers],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    dead = request.query_params.get("show") == "all"
    cursor = request.query_params.get("cursor")
    found = await workers.page(dead=dead, limit=PAGE_SIZE, cursor=cursor)
    return pages.answer(
        request,
        "workers.html.j2",
        found=found,
        dead=dead,
        cursor=cursor,
        older=addresses.changed(PATH, [("show", "all")] if dead else [], cursor=found.next_cursor),
    )


@post("/workers/{worker_id:uuid}/quiet")
async def quiet(
    request: Request[Any, Any, Any],
    worker_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workers: NamedDependency[Workers],
) -> Response[Any]:
    return await _ask(request, worker_id, Asked.QUIET, reader, workers)


@post("/workers/{worker_id:uuid}/drain")
async def drain(
    request: Request[Any, Any, Any],
    worker_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workers: NamedDependency[Workers],
) -> Response[Any]:
    return await _ask(request, worker_id, Asked.DRAIN, reader, workers)


@post("/workers/{worker_id:uuid}/recycle")
async def recycle(
    request: Request[Any, Any, Any],
    worker_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    workers: NamedDependency[Workers],
) -> Response[Any]:
    return await _ask(request, worker_id, Asked.RECYCLE, reader, workers)


async def _ask(
    request: Request[Any, Any, Any], worker_id: UUID, asked: Asked, reader: Reader, workers: Workers
) -> Response[Any]:
    reason = addresses.reason(addresses.fields(await request.form()))
    await workers.ask(worker_id, asked, reason, reader)
    return notices.back(request, PATH, _ANSWERS[asked])
