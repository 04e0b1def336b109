"""Tests of limits on the number of time series that Prometheus has to store."""

import itertools

from prometheus_client import Counter, Gauge
from prometheus_client.metrics import MetricWrapperBase

from shared.contracts.objective import BOUNDS_S
from shared.telemetry import metrics
from shared.telemetry.histogram import Histogram

#: Metric labels that have few values, whatever clients send. Names of tasks, queues and schedules
#: count, because code declares them.
BOUNDED = {
    *("queue", "task", "schedule", "outcome", "kind", "verdict", "reason", "rung", "status", "server"),
    *("loop", "sqlstate_class", "quota", "event", "table", "service", "release", "python", "action"),
}
#: Maximum number of time series that a worker exports for a task that it has not run yet.
MAX_SERIES_OF_A_TASK = 6
COUNTED = {name: value for name, value in vars(metrics).items() if isinstance(value, MetricWrapperBase)}
HISTOGRAMS = {name: value for name, value in vars(metrics).items() if isinstance(value, Histogram)}


def test_every_label_has_few_values() -> None:
    labels = {name: metric._labelnames for name, metric in COUNTED.items()}
    labels |= {name: histogram.labelnames for name, histogram in HISTOGRAMS.items()}
    unbounded = {name: set(named) - BOUNDED for name, named in labels.items()}
    assert {name for name, more in unbounded.items() if more} == set()


def test_a_task_that_never_runs_costs_few_series() -> None:
    def count() -> int:
        by_task = [metric for metric in COUNTED.values() if "task" in metric._labelnames]
        lines = sum(len(histogram.text().splitlines()) for histogram in HISTOGRAMS.values())
        return sum(len(metric._metrics) for metric in by_task) + lines

    before = count()
    metrics.expect_attempts("default", "unit.never_runs")
    assert count() - before <= MAX_SERIES_OF_A_TASK


def test_only_waits_and_runs_are_histograms_by_task() -> None:
    by_task = {name for name, histogram in HISTOGRAMS.items() if "task" in histogram.labelnames}
    assert by_task == {"WAIT_SECONDS", "RUN_SECONDS"}
    # Each bound of a histogram is at most three times the one before it, which limits the error of
    # an estimated quantile.
    bounds = BOUNDS_S
    assert max(after / before for before, after in itertools.pairwise(bounds)) <= 3


def test_a_name_says_what_is_counted_and_in_which_unit() -> None:
    for name, metric in COUNTED.items():
        # prometheus-client removes `_total` from a counter's name, and adds it to the name of the
        # time series.
        assert metric._name.startswith("often_"), name
        assert metric._documentation.endswith("."), name
        assert isinstance(metric, (Counter, Gauge))
    for name, histogram in HISTOGRAMS.items():
        assert histogram.name.startswith("often_"), name
        assert histogram.documentation.endswith("."), name
        assert histogram.name.endswith(("_seconds", "_rows")), name
