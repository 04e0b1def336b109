"""What supervisors and Prometheus ask."""

import prometheus_client
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from services.api.schemas.health import Liveness, Readiness
from shared import probes
from shared.transport.queues import Queues


@get("/health/live", summary="The process answers", tags=["health"])
async def live() -> Liveness:
    return Liveness("alive")


@get(
    "/health/ready",
    summary="Postgres and Redis answer",
    tags=["health"],
    responses={503: ResponseSpec(Readiness, description="Postgres is away", generate_examples=False)},
)
async def ready(queues: NamedDependency[Queues]) -> Response[Readiness]:
    """Without Postgres nothing can be accepted; without Redis tasks are accepted and sent later."""
    servers = await probes.servers(queues)
    if servers["postgres"] == "away":
        return Response(Readiness("unavailable", servers), status_code=503, headers={"Retry-After": "1"})
    return Response(Readiness("ready" if servers["redis"] == "ok" else "degraded", servers))


@get(
    "/metrics",
    include_in_schema=False,
    media_type=prometheus_client.CONTENT_TYPE_LATEST,
    sync_to_thread=False,
)
def metrics() -> bytes:
    return prometheus_client.generate_latest()
