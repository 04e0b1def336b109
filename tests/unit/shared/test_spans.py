"""Tests of the queue of tracing spans, and of how many are sampled. Nothing is sent anywhere."""

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from prometheus_client import REGISTRY

from shared.telemetry.spans import BoundedQueue, Exported
from tests.eventually import eventually

PRODUCER = f"00-{0xA:032x}-{0xB:016x}-01"


class Stuck(SpanExporter):
    """A collector that is stuck: it takes spans only once the test releases it, and then refuses
    them.
    """

    def __init__(self) -> None:
        self.asked, self.released = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.released.wait()
        return SpanExportResult.FAILURE


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("often_trace_spans_dropped_total", {"reason": reason}) or 0


@pytest.fixture
def stuck(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stuck]:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    exporter = Stuck()
    yield exporter
    exporter.released.set()


async def test_spans_that_find_the_queue_full_or_are_not_taken_are_counted(stuck: Stuck) -> None:
    full, refused = dropped("queue_full"), dropped("not_taken")
    provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(BoundedQueue(stuck, 3))
    tracer = provider.get_tracer("unit")
    tracer.start_span("the collector has it").end()
    assert stuck.asked.wait(10)
    for _ in range(5):
        tracer.start_span("waits or is dropped").end()
    assert dropped("queue_full") - full == 2
    stuck.released.set()

    async def all_refused() -> bool:
        return dropped("not_taken") - refused == 4

    await eventually(all_refused)
    provider.shutdown()


def test_a_stop_does_not_wait_for_a_stuck_collector(exported: Exported, stuck: Stuck) -> None:
    exported._queue = BoundedQueue(stuck, 3)
    exported._provider("unit", ALWAYS_ON).get_tracer("unit").start_span("last").end()
    begun = time.monotonic()
    assert not exported.stop(0.1)
    assert time.monotonic() - begun < 5


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[Exported]:
    yield from _exported(monkeypatch, decides=True)


def _exported(monkeypatch: pytest.MonkeyPatch, *, decides: bool) -> Iterator[Exported]:
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.setenv(name, "to be restored")
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.1")
    made = Exported("unit", decides=decides)
    queue = made._queue
    yield made
    queue.shutdown()  # type: ignore[no-untyped-call]


def begin(exported: Exported, **given: Any) -> Any:
    return exported.begin("GET", "SERVER", {}, **{"parent": None, "links": [], **given})


def test_one_of_100_traces_is_sampled_by_default(exported: Exported) -> None:
    sampled = sum(begin(exported) is not None for _ in range(10_000))
    assert 40 < sampled < 200
    assert begin(exported, parent=PRODUCER).context.split("-")[1] == f"{0xA:032x}"
    assert begin(exported, parent=f"{PRODUCER[:-2]}00") is None


def test_a_worker_traces_whatever_was_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    for made in _exported(monkeypatch, decides=False):
        assert all(begin(made, links=[PRODUCER]) is not None for _ in range(100))
