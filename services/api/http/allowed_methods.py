"""Lists the methods of a path in the header Allow, as answers to OPTIONS and to a wrong method have it."""

from litestar.datastructures import MutableScopeHeaders
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope


async def correct(message: Message, scope: Scope) -> None:
    """Called before each message."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    if "Allow" in headers:
        allowed = _methods(scope) or {method.strip() for method in headers["Allow"].split(",")}
        # `http.head` answers HEAD wherever GET is answered.
        headers["Allow"] = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))


def _methods(scope: Scope) -> set[str]:
    """All methods of the path. Litestar's own answer to OPTIONS lists those of one handler only."""
    path = scope.get("path_template")
    routes = [r for r in scope["litestar_app"].routes if isinstance(r, HTTPRoute) and r.path_format == path]
    return {str(method) for route in routes for method in route.methods}
