"""The console's page of Postgres and Redis, with the result of the last health check."""

from typing import Any

from litestar import Request, Response, get
from litestar.di import NamedDependency

from services.api.console.pages import Pages
from services.api.operations.health import Health


@get("/servers")
async def show_servers(
    request: Request[Any, Any, Any],
    system_health: NamedDependency[Health],
    pages: NamedDependency[Pages],
) -> Response[Any]:
    return pages.answer(request, "servers.html.j2", health=await system_health.look())
