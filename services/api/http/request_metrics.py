"""Counts requests by route in Prometheus metrics. Requests to unknown routes are not counted."""

import functools

from litestar.types import HTTPScope
from prometheus_client import Counter, Gauge

from shared.telemetry import tracing
from shared.telemetry.histogram import Histogram, Observations

_LABELS = ("method", "path", "status_code", "app_name")
#: Value of the metric label `app_name`, which is the same for all requests.
_API = "api"
#: Routes with this media type send event streams. They last for hours, so their requests are
#: counted separately.
_EVENT_STREAM = "text/event-stream"
#: Status code under which a request is counted if its client disconnected before the answer began.
#: nginx logs the same number.
_ABANDONED = 499
#: Maximum number of cached time series. Each route has one series per status code and method, so
#: only methods that clients invent could exceed this number.
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
    # Buckets of the histogram in seconds. One bound is 1 s, the objective for submissions; see
    # `monitoring/prometheus/objectives.py`.
    bounds=(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10),
)


def count(scope: HTTPScope, status: int | None, duration_s: float) -> None:
    """Count a request by the status code of its answer. `status` is None if no answer began."""
    template = scope.get("path_template")
    if template is None:
        return
    if status == 200 and _streams(scope):
        return
    if status is None:
        status = _ABANDONED
    counted, seconds = _series(scope["method"], template, status)
    counted.inc()
    seconds.observe(duration_s, tracing.labels())
    if status >= 500:
        _ERRORS.labels(scope["method"], template, str(status), _API).inc()


def _streams(scope: HTTPScope) -> bool:
    handler = scope.get("route_handler")
    return getattr(handler, "media_type", None) == _EVENT_STREAM


@functools.lru_cache(_MAX_SERIES)
def _series(method: str, template: str, status: int) -> tuple[Counter, Observations]:
    """Return the time series for these labels. It is cached, because looking it up takes longer
    than counting.
    """
    labels = (method, template, str(status), _API)
    return _COUNT.labels(*labels), _SECONDS.labels(*labels)
