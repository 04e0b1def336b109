"""Prometheus gauges that only the leading scheduler exports.

Their values are read from Postgres and describe the whole system, so they must not be summed over
processes.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

from shared.telemetry.metrics import gauge

#: Age in seconds up to which a value is exported. An older value is left out, because a gauge that
#: never changes would look like a healthy system.
FRESH_S = 30.0


class LeaderGauges(Collector):
    """Holds the latest values of each gauge service, and exports them while this process leads."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._published: dict[str, tuple[float, Sequence[Metric]]] = {}

    def publish(self, source: str, *gauges: Metric) -> None:
        """Replace the values that this source has published before."""
        self._published[source] = time.monotonic(), gauges

    def forget(self) -> None:
        """Drop the values of an earlier term of leadership. Called when this process becomes the
        leader.
        """
        self._published.clear()

    def describe(self) -> Iterable[Metric]:
        """Return no metrics. The registry calls this at registration, when the metrics are not
        known yet.
        """
        return ()

    def collect(self) -> Iterator[Metric]:
        """Return the values for one scrape. The threads of the metrics server call this."""
        leads = self._leads()
        yield gauge("often_scheduler_leader", "1 while this process leads.", (), {(): leads})
        for published_at, gauges in list(self._published.values()) if leads else ():
            if time.monotonic() - published_at < FRESH_S:
                yield from gauges
