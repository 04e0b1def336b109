"""Counts requests by route, for Prometheus. Requests that no route takes are not counted."""

import functools

from litestar.types import HTTPScope
from prometheus_client import Counter, Gauge, Histogram

_LABELS = ("method", "path", "status_code", "app_name")
#: The value of `app_name`.
_API = "api"
#: Paths of event streams, which last for hours and are counted apart.
_STREAMS = "/events"
#: Bounds the cache of series. Each route has one per status; there are more only if clients can make them up.
_MAX_SERIES = 2_000

UNDER_WAY = Gauge("often_http_requests_in_progress", "Requests that are being answered.")
_COUNT = Counter("often_http_requests_total", "Requests answered, by route.", _LABELS)
_ERRORS = Counter(
    "often_http_requests_error_total", "Requests answered with a status of 500 or more.", _LABELS
)
_SECONDS = Histogram(
    "often_http_request_duration_seconds",
    "Time from the header of a request to the last part of its answer.",
    _LABELS,
)


def count(scope: HTTPScope, status: int, duration_s: float) -> None:
    """Count a request that was answered, or given up by its client with the status as it was."""
    template = scope.get("path_template")
    if template is None:
        return
    if template.endswith(_STREAMS):
        return
    counted, seconds = _series(scope["method"], template, status)
    counted.inc()
    seconds.observe(duration_s)
    if status >= 500:
        _ERRORS.labels(scope["method"], template, str(status), _API).inc()


@functools.lru_cache(_MAX_SERIES)
def _series(method: str, template: str, status: int) -> tuple[Counter, Histogram]:
    """Looking the series up takes longer than counting."""
    labels = (method, template, str(status), _API)
    return _COUNT.labels(*labels), _SECONDS.labels(*labels)
