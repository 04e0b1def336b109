"""Gauges that only the leader exports: values read from the ledger, whose sums over processes are wrong."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

from shared.telemetry.metrics import gauge

#: Values older than this are no longer exported: a gauge that stands still looks like a system that does.
FRESH_S = 30.0


class LeaderGauges(Collector):
    """The last values of each source, exported while this process leads."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._published: dict[str, tuple[float, Sequence[Metric]]] = {}

    def publish(self, source: str, *gauges: Metric) -> None:
        """Replace what this source published before."""
        self._published[source] = time.monotonic(), gauges

    def forget(self) -> None:
        """Drop the values of an earlier term; called when this process becomes the leader."""
        self._published.clear()

    def describe(self) -> Iterable[Metric]:
        """Nothing is known beforehand."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Called in threads of the metrics server."""
        leads = self._leads()
        yield gauge("often_scheduler_leader", "1 while this process leads.", (), {(): leads})
        for published_at, gauges in list(self._published.values()) if leads else ():
            if time.monotonic() - published_at < FRESH_S:
                yield from gauges
