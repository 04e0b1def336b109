"""What supervisors and Prometheus ask."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import prometheus_client
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec

from services.api.schemas.health import Liveness, Readiness
from shared.errors import ServerAway
from shared.ledger import engine
from shared.transport.queues import Queues

#: A probe that waits longer is itself counted as failed by most supervisors.
PROBE_TIMEOUT_S = 1.5


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
    postgres, redis = await asyncio.gather(_probe(engine.run("SELECT 1 AS one")), _probe(queues.generation()))
    servers = {"postgres": postgres, "redis": redis}
    if postgres == "away":
        return Response(Readiness("unavailable", servers), status_code=503, headers={"Retry-After": "1"})
    return Response(Readiness("ready" if redis == "ok" else "degraded", servers))


@get(
    "/metrics",
    include_in_schema=False,
    media_type=prometheus_client.CONTENT_TYPE_LATEST,
    sync_to_thread=False,
)
def metrics() -> bytes:
    return prometheus_client.generate_latest()


async def _probe(answer: Awaitable[Any]) -> str:
    try:
        await asyncio.wait_for(answer, PROBE_TIMEOUT_S)
    except (ServerAway, TimeoutError):
        return "away"
    return "ok"
