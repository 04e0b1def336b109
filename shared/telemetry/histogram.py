"""Prometheus histograms that cost little to observe and to expose. All other metrics use
prometheus-client.

prometheus-client creates an object for each output line at each scrape, and most lines of a worker
belong to histograms of waiting and running times. Here, all lines of one set of labels come from
one format string (see decision record 45).
"""

import time
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate
from threading import Lock

from prometheus_client.utils import INF, floatToGoString

#: All histograms of this process, in the order of their creation.
REGISTRY: "list[Histogram]" = []


def text(*, exemplars: bool = False) -> str:
    """The text that exposes all histograms of this process. It is the same for Prometheus' text
    format and for OpenMetrics, except that only OpenMetrics has exemplars.
    """
    return "".join(histogram.text(exemplars=exemplars) for histogram in REGISTRY)


class Observations:
    """The observed values of a histogram for one set of label values."""

    __slots__ = ("_bounds", "_counts", "_exemplars", "_lines", "_lock", "_sum")

    def __init__(self, name: str, labels: Sequence[str], bounds: Sequence[float]) -> None:
        """Each of `labels` is a pair such as `queue="default"`."""
        self._bounds = bounds
        #: Number of observed values in each bucket: above the previous bound, up to its own. The
        #: last bucket has no upper bound.
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        #: The latest exemplar of each bucket that has one, in the syntax of OpenMetrics.
        self._exemplars: dict[int, str] = {}
        self._lock = Lock()
        buckets = [_line(f"{name}_bucket", *labels, f'le="{_number(bound)}"') for bound in (*bounds, INF)]
        lines = [*buckets, _line(f"{name}_count", *labels), _line(f"{name}_sum", *labels)]
        self._lines = "".join(line.replace("%", "%%") + " %r\n" for line in lines)

    def observe(self, value: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count a value. `exemplar` contains the labels of an OpenMetrics exemplar, such as the id
        of a trace.
        """
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value
            if exemplar:
                pairs = ",".join(f'{name}="{_escaped(text)}"' for name, text in sorted(exemplar.items()))
                self._exemplars[bucket] = f" # {{{pairs}}} {value!r} {time.time():.3f}"

    @contextmanager
    def time(self) -> Iterator[None]:
        """Measure how long the context takes, in seconds, and count that value, even if an
        exception is raised.
        """
        began = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - began)

    def text(self, *, exemplars: bool) -> str:
        with self._lock:
            counts, total, examples = self._counts.copy(), self._sum, self._exemplars.copy()
        up_to = list(accumulate(counts))
        written = self._lines % (*up_to, up_to[-1], total)
        if not (exemplars and examples):
            return written
        lines = written.splitlines()
        for bucket, exemplar in examples.items():
            lines[bucket] += exemplar
        return "\n".join(lines) + "\n"


class Histogram:
    """A histogram of this process, by label values. Declare it once, at module level."""

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        *,
        bounds: Sequence[float],
        registry: "list[Histogram]" = REGISTRY,
    ) -> None:
        """`bounds` are the upper bounds of the buckets, inclusive and ascending."""
        self.name, self.documentation, self.labelnames = name, documentation, tuple(labels)
        self._bounds = tuple(bounds)
        self._by_values: dict[tuple[str, ...], Observations] = {}
        if not labels:
            self.labels()
        registry.append(self)

    def labels(self, *values: str) -> Observations:
        found = self._by_values.get(values)
        if found is None:
            pairs = [
                f'{name}="{_escaped(value)}"' for name, value in zip(self.labelnames, values, strict=True)
            ]
            # If two threads arrive here at once, `setdefault` gives both the same object.
            found = self._by_values.setdefault(values, Observations(self.name, pairs, self._bounds))
        return found

    def observe(self, value: float) -> None:
        """Count a value in a histogram that has no labels."""
        self.labels().observe(value)

    @contextmanager
    def time(self) -> Iterator[None]:
        with self.labels().time():
            yield

    def text(self, *, exemplars: bool = False) -> str:
        head = f"# HELP {self.name} {self.documentation}\n# TYPE {self.name} histogram\n"
        return head + "".join(each.text(exemplars=exemplars) for each in list(self._by_values.values()))


def _line(name: str, *labels: str) -> str:
    return f"{name}{{{','.join(labels)}}}" if labels else name


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(bound: float) -> str:
    return str(floatToGoString(bound))  # type: ignore[no-untyped-call]
