"""The API routes that list, pause, resume and purge queues."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.http.schemas import ReasonBody
from services.api.identity.rights import Reader
from services.api.operations import purge as purging
from services.api.operations.queues import QueueControls
from services.api.operations.schemas import (
    PauseBody,
    PurgeBody,
    QueueAnswer,
    QueueList,
    QueuePaused,
    QueuePurged,
    QueueResumed,
)
from shared.ledger.database import Database
from shared.ledger.tally import Tally
from shared.transport.events import Publisher


@get(
    "/queues",
    summary="List queues",
    description="Every queue that a contract names, a worker serves, or an operator has paused.",
    responses=documented(401, 403),
)
async def list_queues(queue_controls: NamedDependency[QueueControls]) -> QueueList:
    return QueueList(await queue_controls.all())


@get("/queues/{queue:str}", summary="Look up a queue", responses=documented(400, 401, 403, 404))
async def get_queue(queue: FromPath[str], queue_controls: NamedDependency[QueueControls]) -> QueueAnswer:
    return await queue_controls.find(queue)


@post(
    "/queues/{queue:str}/pause",
    summary="Pause a queue",
    operation_class=example({"reason": "the mail provider is down"}),
    description="Workers stop starting tasks of the queue within one second after the answer, or two seconds "
    "while Redis is unavailable. The pause survives restarts. Running tasks continue. New tasks are accepted "
    "and wait. If the queue is already paused, only the reason changes.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def pause(
    queue: FromPath[str],
    data: JSONBody[PauseBody],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
) -> QueuePaused:
    return await queue_controls.pause(queue, data.reason, reader)


@post(
    "/queues/{queue:str}/resume",
    summary="Resume a queue",
    operation_class=example({"reason": "the provider answers again"}, optional=True),
    description="A queue that is not paused stays unchanged.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 413),
)
async def resume(
    queue: FromPath[str],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
    data: JSONBody[ReasonBody | None] = None,
) -> QueueResumed:
    return await queue_controls.resume(queue, data.reason if data else None, reader)


@post(
    "/queues/{queue:str}/purge",
    summary="Cancel all tasks that wait in a queue",
    operation_class=example({"confirm": "maintenance", "reason": "the campaign was called off"}),
    description="Delayed tasks and retries are canceled too; running tasks continue. One request cancels up "
    "to 10,000 tasks. Repeat it while `more` is true, and after an error. The audit log gets a row for each "
    "2,000 tasks.",
    status_code=200,
    responses=documented(400, 401, 403, 404, 413),
)
async def purge(
    queue: FromPath[str],
    data: JSONBody[PurgeBody],
    reader: NamedDependency[Reader],
    queue_controls: NamedDependency[QueueControls],
    database: NamedDependency[Database],
    tally: NamedDependency[Tally],
    publisher: NamedDependency[Publisher],
) -> QueuePurged:
    await queue_controls.require(queue)
    purging.check(queue, data.confirm)
    return await purging.purge(database, tally, publisher, queue, data.reason, reader)
