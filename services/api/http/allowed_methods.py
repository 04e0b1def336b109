"""Completes the header Allow with all methods of a path, in answers to OPTIONS and to a method that
the path does not accept.
"""

from collections.abc import Iterable

from litestar.routes import HTTPRoute
from litestar.types import HTTPScope


def corrected(headers: Iterable[tuple[bytes, bytes]], scope: HTTPScope) -> list[tuple[bytes, bytes]]:
    """Return the headers of an answer, with all methods of the path in Allow."""
    return [(name, _all(value, scope) if name == b"allow" else value) for name, value in headers]


def _all(value: bytes, scope: HTTPScope) -> bytes:
    allowed = _methods(scope) or {method.strip() for method in value.decode().split(",")}
    # HEAD is allowed wherever GET is, because `http.envelope` answers it.
    return ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))).encode()


def _methods(scope: HTTPScope) -> set[str]:
    """All methods of the path. Litestar itself would list only those of one handler."""
    path = scope.get("path_template")
    routes = [r for r in scope["litestar_app"].routes if isinstance(r, HTTPRoute) and r.path_format == path]
    return {str(method) for route in routes for method in route.methods}
