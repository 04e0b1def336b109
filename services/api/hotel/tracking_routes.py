"""The daily price scan, for staff: routes that start it, follow it, and show what it covers.

The addresses are those of the application's predecessor; the access rights are new. The platform's
own routes read the tasks.
"""

from contextlib import ExitStack
from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from litestar.response import Stream

from services.api.hotel.refusals import DestinationNotFound
from services.api.hotel.task_schemas import ScanBody, TrackingHealth
from services.api.http.documentation import example
from services.api.http.errors import documented
from services.api.identity.rights import Reader
from services.api.live import routes
from services.api.live.live import Live
from services.api.live.log_feed import levels_from
from services.api.live.viewer import Viewer
from services.api.reads import Reads
from services.api.tasks.log_stream import LogStream
from services.api.tasks.lookup_routes import LowestLevel, logs_at, task_at
from services.api.tasks.schemas import NewTaskBody, Submitted
from services.api.tasks.submission_routes import IdempotencyKey, submitted
from services.api.tasks.submissions import Submissions
from shared import probes
from shared.hotel import hotels as tables
from shared.hotel import tracking
from shared.hotel.contracts import hotels, scans
from shared.hotel.contracts.hotels import TrackingConfiguration, TrackingSummary
from shared.ledger.database import Database
from shared.ledger.statement import Statement
from shared.transport.queues import Queues

PATH = "/admin/hotel-tracking"

#: Counts the workers that serve a queue, and the unfinished tasks in it. An unfinished task is
#: delayed, sent to a lane, or held by a worker, and each of these cases has an index.
WORK = Statement("""
    SELECT (SELECT count(*) FROM worker WHERE :queue::text = ANY(queues) AND dead_at IS NULL
                AND stopped_at IS NULL) AS workers,
        (SELECT count(*) FROM task WHERE queue = :queue AND send_at IS NOT NULL)
        + (SELECT count(*) FROM task WHERE queue = :queue AND sent_at IS NOT NULL)
        + (SELECT count(*) FROM task WHERE queue = :queue AND holder IS NOT NULL) AS open_tasks
""")


@post(
    f"{PATH}/start",
    summary="Scan all tracked destinations",
    status_code=202,
    responses=documented(400, 401, 403, 409),
)
async def start(
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    body = NewTaskBody(name=scans.SCAN_DESTINATIONS.name, params={})
    return await _submit(body, "start", None, reader, submissions, idempotency_key)


@post(
    f"{PATH}/destination/{{destination_id:int}}",
    summary="Scan one destination",
    operation_class=example({"days": 7}),
    status_code=202,
    responses=documented(400, 401, 403, 404, 409, 413),
)
async def scan(
    destination_id: FromPath[int],
    data: JSONBody[ScanBody],
    reader: NamedDependency[Reader],
    submissions: NamedDependency[Submissions],
    database: NamedDependency[Database],
    idempotency_key: IdempotencyKey = None,
) -> Response[Submitted]:
    possible = 0 < destination_id < 2**63
    if not possible or not await database.run(tables.SEARCHED_PLACES, destination_id):
        raise DestinationNotFound(destination_id)
    observed_on = None if data.observed_on is None else data.observed_on.isoformat()
    params = {"destination_id": destination_id, "observed_on": observed_on, "days": data.days}
    body = NewTaskBody(name=hotels.SCAN_DESTINATION.name, params=params)
    return await _submit(body, f"destination/{destination_id}", data, reader, submissions, idempotency_key)


status = task_at(f"{PATH}/status/{{task_id:uuid}}", "Look up a scan")
logs = logs_at(f"{PATH}/logs/{{task_id:uuid}}", "What a scan has logged")


@get(f"{PATH}/config", summary="Show the configuration of scans", responses=documented(401, 403))
async def configuration() -> TrackingConfiguration:
    return tracking.CONFIGURATION


@get(
    f"{PATH}/summary", summary="Summarize the tracked hotels and prices", responses=documented(401, 403, 504)
)
async def summarise(reads: NamedDependency[Reads]) -> TrackingSummary:
    """Summarize the tracked prices. The tables are read directly and not by a task, because a GET
    request submits no task.
    """
    return await tracking.summary(reads)


@get(f"{PATH}/health", summary="Show whether scans can run", responses=documented(401, 403, 504))
async def health(
    database: NamedDependency[Database], reads: NamedDependency[Reads], queues: NamedDependency[Queues]
) -> TrackingHealth:
    servers = await probes.servers(database, queues)
    (work,) = await reads.run(WORK, queue=hotels.SCAN_DESTINATION.queue)
    return TrackingHealth(servers["postgres"], servers["redis"], work["workers"], work["open_tasks"])


@get(
    f"{PATH}/logs/{{task_id:uuid}}/stream",
    summary="Stream the log lines of a scan",
    description="Server-sent events: connected, log, status (with each change), then completed; or error.",
    media_type="text/event-stream",
    responses=documented(400, 401, 403, 404),
)
async def stream(
    request: Request[Any, Any, Any],
    task_id: FromPath[UUID],
    reader: NamedDependency[Reader],
    live: NamedDependency[Live],
    viewer: NamedDependency[Viewer],
    level: LowestLevel = "debug",
) -> Stream:
    with ExitStack() as room:
        room.enter_context(live.bus.reserve(viewer.account))
        await live.state(task_id, reader)
        followed = LogStream(viewer, task_id, feed=live.feed(task_id), levels=levels_from(level))
        return routes.answer(request, await live.frames(followed, room.pop_all()))


async def _submit(
    body: NewTaskBody, route: str, sent: Any, reader: Reader, submissions: Submissions, key: str | None
) -> Response[Submitted]:
    task = submissions.new_task(body, reader)
    once = submissions.once(key, reader, f"{PATH}/{route}", sent)
    task_id, is_new = await submissions.submit_one(task, reader, once)
    return submitted(task_id, body.name, is_new)
