"""What only the leader tells Prometheus: counts of the ledger, whose sums over processes would be wrong."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import Metric
from prometheus_client.registry import Collector

from shared.telemetry.metrics import gauge

#: What was told longer ago is not told any more: a gauge that stands still looks like a system that does.
FRESH_S = 30.0


class LeaderGauges(Collector):
    """The last values of each source, for as long as this process leads."""

    def __init__(self, leads: Callable[[], bool]) -> None:
        self._leads = leads
        self._told: dict[str, tuple[float, Sequence[Metric]]] = {}

    def tell(self, source: str, *gauges: Metric) -> None:
        """Replaces what this source told before."""
        self._told[source] = time.monotonic(), gauges

    def forget(self) -> None:
        """This process leads anew: what it told in an earlier term is over."""
        self._told.clear()

    def describe(self) -> Iterable[Metric]:
        """Nothing is known beforehand."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Asked in threads of the metrics' server."""
        leads = self._leads()
        yield gauge("often_scheduler_leader", "1 while this process leads.", (), {(): leads})
        for told_at, gauges in list(self._told.values()) if leads else ():
            if time.monotonic() - told_at < FRESH_S:
                yield from gauges
