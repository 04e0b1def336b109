"""Tests that our histograms are exposed as prometheus-client would expose them."""

import threading

import prometheus_client
import prometheus_client.openmetrics.exposition
import prometheus_client.openmetrics.parser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest, openmetrics
from prometheus_client.parser import text_string_to_metric_families

from shared.telemetry.histogram import Histogram

BOUNDS = (0.005, 0.5, 1, 60, 21_600)
VALUES = st.one_of(st.sampled_from(BOUNDS), st.floats(0, 50_000))


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    (family,) = text_string_to_metric_families(text)
    assert (family.type, family.documentation) == ("histogram", "Times.")
    return {(one.name, tuple(sorted(one.labels.items()))): one.value for one in family.samples}


@given(st.text(), st.lists(VALUES))
def test_its_lines_are_those_of_the_library(task: str, values: list[float]) -> None:
    ours = Histogram("unit_seconds", "Times.", ["task"], bounds=BOUNDS, registry=[])
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "unit_seconds", "Times.", ["task"], buckets=BOUNDS, registry=registry
    )
    for value in values:
        ours.labels(task).observe(value)
        theirs.labels(task).observe(value)
    assert samples(ours.text()) == samples(generate_latest(registry).decode())


@given(st.text(max_size=60), st.lists(VALUES))
def test_its_exemplars_are_those_of_the_library(trace: str, values: list[float]) -> None:
    ours = Histogram("unit_seconds", "Times.", ["task"], bounds=BOUNDS, registry=[])
    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "unit_seconds", "Times.", ["task"], buckets=BOUNDS, registry=registry
    )
    for value in values:
        ours.labels("a").observe(value, {"trace_id": trace})
        theirs.labels("a").observe(value, {"trace_id": trace})
    theirs_text = openmetrics.exposition.generate_latest(registry).decode()  # type: ignore[no-untyped-call]
    assert exemplars(ours.text(exemplars=True) + "# EOF\n") == exemplars(theirs_text)
    assert "trace_id" not in ours.text()


def exemplars(text: str) -> dict[str, tuple[dict[str, str], float]]:
    """Labels and value of each bucket's exemplar, by the bucket's upper bound."""
    (family,) = openmetrics.parser.text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return {
        one.labels["le"]: (one.exemplar.labels, one.exemplar.value) for one in family.samples if one.exemplar
    }


def test_one_without_labels_is_there_before_its_first_observation() -> None:
    histogram = Histogram("unit_seconds", "Times.", bounds=BOUNDS, registry=[])
    assert samples(histogram.text())["unit_seconds_count", ()] == 0
    with histogram.time():
        pass
    found = samples(histogram.text())
    assert (found["unit_seconds_count", ()], found["unit_seconds_bucket", (("le", "60.0"),)]) == (1, 1)


def test_a_value_too_few_is_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        Histogram("unit_seconds", "Times.", ["queue", "task"], bounds=BOUNDS, registry=[]).labels("default")


def test_threads_lose_no_observation() -> None:
    histogram = Histogram("unit_seconds", "Times.", ["task"], bounds=BOUNDS, registry=[])

    def observe() -> None:
        for _ in range(5_000):
            histogram.labels("a").observe(0.25)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = samples(histogram.text())
    assert found["unit_seconds_count", (("task", "a"),)] == 20_000
    assert found["unit_seconds_sum", (("task", "a"),)] == 5_000
