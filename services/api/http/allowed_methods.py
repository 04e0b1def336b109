"""Answers OPTIONS with the methods that a path really takes."""

from litestar.datastructures import MutableScopeHeaders
from litestar.routes import HTTPRoute
from litestar.types import Message, Scope


async def correct(message: Message, scope: Scope) -> None:
    """Called before each message. Litestar's own answer knows only the handlers that came first."""
    if message["type"] != "http.response.start" or scope.get("method") != "OPTIONS":
        return
    path = scope.get("path_template")
    for route in scope["litestar_app"].routes:
        if isinstance(route, HTTPRoute) and route.path_format == path:
            MutableScopeHeaders.from_message(message)["Allow"] = ", ".join(sorted(route.methods))
