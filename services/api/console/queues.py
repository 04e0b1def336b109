"""The console's page of queues: the waiting tasks, the workers that serve each queue, and the forms
to pause, resume and purge it.
"""

from typing import Any, Final

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from services.api.console import addresses, notices
from services.api.console.pages import Pages
from services.api.identity.rights import Reader
from services.api.operations import purge as purging
from services.api.operations.queues import QueueControls
from services.api.tasks.statistics import StatisticsView
from services.api.words import plural
from shared.errors import FieldProblem, InvalidFields
from shared.ledger.database import Database
from shared.ledger.tally import Tally
from shared.transport.events import Publisher

PATH: Final = "/console/queues"


@get("/queues")
async def list_queues(
    request: Request[Any, Any, Any],
    queue_controls: NamedDependency[QueueControls],
    statistics: NamedDependency[StatisticsView],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    queues = await queue_controls.all()
    waits = {each.queue: each for each in (await statistics.waits(1)).queues}
    return pages.answer(request, "queues.html.j2", queues=queues, waits=waits)


@post("/queues/{queue:str}/pause")
async def pause(
    request: Request[Any, Any, Any],
    queue: FromPath[str],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
) -> Response[Any]:
    reason = addresses.reason(addresses.fields(await request.form()))
    if not reason:
        raise InvalidFields(
            [FieldProblem("reason", "must be given, so that colleagues know why the queue is paused")]
        )
    paused = await queue_controls.pause(queue, reason, reader)
    expiring = ""
    if paused.expiring:
        expiring = f" {plural(paused.expiring, 'waiting task')} with a deadline will expire if it lasts."
    return notices.back(request, PATH, f"{queue} is paused. Running tasks continue.{expiring}")


@post("/queues/{queue:str}/resume")
async def resume(
    request: Request[Any, Any, Any],
    queue: FromPath[str],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
) -> Response[Any]:
    resumed = await queue_controls.resume(queue, None, reader)
    return notices.back(request, PATH, f"{queue}: {resumed.message}")


@post("/queues/{queue:str}/purge")
async def purge(
    request: Request[Any, Any, Any],
    queue: FromPath[str],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
    database: NamedDependency[Database],
    tally: NamedDependency[Tally],
    publisher: NamedDependency[Publisher],
) -> Response[Any]:
    form = addresses.fields(await request.form())
    await queue_controls.require(queue)
    purging.check(queue, form.get("confirm", "").strip())
    purged = await purging.purge(database, tally, publisher, queue, addresses.reason(form), reader)
    more = " More tasks wait: purge it again." if purged.more else ""
    return notices.back(request, PATH, f"{plural(purged.canceled, 'task')} of {queue} canceled.{more}")
