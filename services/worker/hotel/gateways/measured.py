"""Prometheus metrics of requests to outside services: their number and duration."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from shared.telemetry import metrics


@contextmanager
def request(service: str, outcome_of: Callable[[Exception], str]) -> Iterator[None]:
    """Count and time the code inside this context as one request.

    A request that is canceled is timed but not counted.
    """
    with metrics.OUTSIDE_SECONDS.labels(service).time():
        try:
            yield
        except Exception as error:
            metrics.OUTSIDE_REQUESTS.labels(service, outcome_of(error)).inc()
            raise
    metrics.OUTSIDE_REQUESTS.labels(service, "answered").inc()
