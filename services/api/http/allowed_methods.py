"""Lists the methods of a path in the header Allow, as answers to OPTIONS and to a wrong method have it."""

from collections.abc import Iterable

from litestar.routes import HTTPRoute
from litestar.types import HTTPScope


def corrected(headers: Iterable[tuple[bytes, bytes]], scope: HTTPScope) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, where Allow has all methods of the path."""
    return [(name, _all(value, scope) if name == b"allow" else value) for name, value in headers]


def _all(value: bytes, scope: HTTPScope) -> bytes:
    allowed = _methods(scope) or {method.strip() for method in value.decode().split(",")}
    # `http.envelope` answers HEAD wherever GET is answered.
    return ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))).encode()


def _methods(scope: HTTPScope) -> set[str]:
    """All methods of the path. Litestar's own answer to OPTIONS lists those of one handler only."""
    path = scope.get("path_template")
    routes = [r for r in scope["litestar_app"].routes if isinstance(r, HTTPRoute) and r.path_format == path]
    return {str(method) for route in routes for method in route.methods}
