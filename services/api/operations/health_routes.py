"""The API route that reports the current problems of the system."""

from litestar import get
from litestar.di import NamedDependency

from services.api.http.errors import documented
from services.api.operations.health import Health
from services.api.operations.health_schemas import SystemHealth


@get(
    "/operations/health",
    summary="List the current problems of the system",
    description="The worst problem comes first, and each one says what to do next. The answer is at most two "
    "seconds old.",
    responses=documented(401, 403),
)
async def show_health(system_health: NamedDependency[Health]) -> SystemHealth:
    return await system_health.look()
