"""Creates the tracing span of each sampled request, named after its route."""

from contextlib import AbstractContextManager

from litestar.types import HTTPScope

from shared.telemetry import tracing
from shared.telemetry.tracing import Span


def of(scope: HTTPScope) -> AbstractContextManager[Span | None]:
    """Context manager that records the tracing span of a request while the request lasts."""
    return tracing.request(scope["method"], scope["headers"])


def describe(span: Span, scope: HTTPScope, status: int | None) -> None:
    """Add the route and the status code to the span once the request is answered. `status` is None
    if no answer began.
    """
    if template := scope.get("path_template"):
        span.rename(f"{scope['method']} {template}")
        span.set({"http.route": template})
    if status is not None:
        span.set({"http.response.status_code": status})
    if status is not None and status >= 500:
        span.fail(str(status))
