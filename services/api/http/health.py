"""Health checks for load balancers and process supervisors.

The metrics have a separate port (`shared.telemetry.exposition`).
"""

from litestar import Response, Router, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from services.api.drain import Drain
from services.api.http.health_schemas import Liveness, Readiness
from shared import probes
from shared.keeper import Keeper
from shared.ledger.database import Database
from shared.ledger.schema_check import SchemaCheck
from shared.transport.queues import Queues


@get(
    "/health/live",
    summary="Check that the process answers and its background loops run",
    responses={
        503: ResponseSpec(Liveness, description="A background loop has stalled", generate_examples=False)
    },
)
async def live(keeper: NamedDependency[Keeper]) -> Response[Liveness]:
    stalled = keeper.stalled()
    return Response(Liveness("failing" if stalled else "alive", stalled), status_code=503 if stalled else 200)


@get(
    "/health/ready",
    summary="Check that Postgres and Redis answer",
    responses={
        503: ResponseSpec(
            Readiness, description="Postgres cannot store tasks, or the API stops", generate_examples=False
        )
    },
)
async def ready(
    database: NamedDependency[Database],
    queues: NamedDependency[Queues],
    drain: NamedDependency[Drain],
    schema: NamedDependency[SchemaCheck],
) -> Response[Readiness]:
    """Report whether the API can serve requests. Without Postgres, it accepts no tasks. Without
    Redis, it accepts tasks and sends them to workers later.
    """
    if drain.began:
        return Response(Readiness("stopping", {}), status_code=503)
    servers = await probes.servers(database, queues)
    if schema.problem is not None:
        servers["postgres"] = str(schema.problem)
    if servers["postgres"] == "ok":
        servers["postgres"] = await probes.storing(database)
    if servers["postgres"] != "ok":
        return Response(Readiness("unavailable", servers), status_code=503, headers={"Retry-After": "1"})
    return Response(Readiness("ready" if servers["redis"] == "ok" else "degraded", servers))


#: Paths that answer even while Postgres and Redis are unavailable.
PATHS = ("/health/live", "/health/ready")
ROUTER = Router("", route_handlers=[live, ready], tags=["health"])
