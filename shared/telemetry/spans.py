"""Creates OpenTelemetry spans and exports them. `shared.telemetry.tracing` imports this module only
if tracing is on.

Sampling, the collector and the queue are configured by the environment variables that the
OpenTelemetry SDK itself reads (`OTEL_...`).
"""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.release import RELEASE
from shared.telemetry import metrics
from shared.telemetry.tracing import Attributes, Span

#: Default values for variables of the OpenTelemetry SDK, where they differ from the SDK's own: one
#: of 100 traces is sampled.
DEFAULTS = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}
#: Maximum number of spans that wait to be exported. It equals the SDK's own default.
QUEUE_SIZE = 2_048


class Exported:
    """Begins spans, and exports the sampled ones to the collector in a separate thread."""

    def __init__(self, service: str, *, decides: bool) -> None:
        """Raises ValueError if a variable of the OpenTelemetry SDK has an invalid value."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        # Only errors of the exporter are logged, at most one per failed export. Its warnings would
        # add up to six lines.
        logging.getLogger("opentelemetry.exporter").setLevel(logging.ERROR)
        size = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE_SIZE))
        self._queue = BoundedQueue(OTLPSpanExporter(), size)
        # If this service does not decide about sampling, it samples every span that it begins,
        # because a worker begins spans only for attempts whose task was already sampled.
        own = self._provider(service, None if decides else ALWAYS_ON)
        self._tracer = own.get_tracer("often_tasks", RELEASE)
        # Libraries and task bodies get this provider, with which they can add spans to a trace of
        # the platform but cannot begin a trace.
        trace.set_tracer_provider(self._provider(service, ParentBased(ALWAYS_OFF)))

    def begin(
        self, name: str, kind: str, attributes: Attributes, *, parent: str | None, links: Sequence[str]
    ) -> Span | None:
        """Begin a span. Returns None if it is not sampled. `parent` and each of `links` are
        `traceparent` values.
        """
        around = contexts.Context()
        if parent is not None:
            around = trace.set_span_in_context(NonRecordingSpan(_parsed(parent)), around)
        span = self._tracer.start_span(
            name,
            around,
            SpanKind[kind],
            attributes,
            [Link(_parsed(linked)) for linked in links],
            record_exception=False,
        )
        return SampledSpan(span) if span.is_recording() else None

    def stop(self, limit_s: float) -> bool:
        """Export the pending spans. Returns False if that takes longer than the limit."""
        sending = threading.Thread(target=self._queue.shutdown, name="last spans", daemon=True)
        sending.start()
        sending.join(limit_s)
        return not sending.is_alive()

    def _provider(self, service: str, sampler: Sampler | None) -> TracerProvider:
        """Create a tracer provider with this sampler. None selects the sampler that the SDK's
        variables name.
        """
        ours = Resource.create({"service.name": f"often-{service}", "service.version": RELEASE})
        resource = ours.merge(OTELResourceDetector().detect())
        provider = TracerProvider(sampler, resource, shutdown_on_exit=False)
        provider.add_span_processor(self._queue)
        return provider


class SampledSpan:
    """A sampled OpenTelemetry span. It implements `tracing.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        own = span.get_span_context()
        trace_id = trace.format_trace_id(own.trace_id)
        self.context = f"00-{trace_id}-{trace.format_span_id(own.span_id)}-01"
        self.labels = {"trace_id": trace_id}

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(Status(StatusCode.ERROR))

    def attach(self) -> Any:
        return contexts.attach(trace.set_span_in_context(self._span))

    def detach(self, token: Any) -> None:
        contexts.detach(token)

    def end(self) -> None:
        self._span.end()


class BoundedQueue(BatchSpanProcessor):
    """The SDK's queue of spans with its exporting thread. It counts the spans that are dropped
    because the queue is full, which the SDK itself does not count.
    """

    def __init__(self, exporter: SpanExporter, size: int) -> None:
        self._size = size
        self._waiting = 0
        self._lock = threading.Lock()
        super().__init__(_Counted(exporter, self._left), max_queue_size=size)

    def on_end(self, span: ReadableSpan) -> None:
        with self._lock:
            has_room = self._waiting < self._size
            self._waiting += has_room
        if has_room:
            super().on_end(span)
        else:
            metrics.TRACE_SPANS_DROPPED.labels("queue_full").inc()

    def _left(self, count: int) -> None:
        with self._lock:
            self._waiting -= count


class _Counted(SpanExporter):
    """An exporter that counts the spans that the collector did not accept."""

    def __init__(self, exporter: SpanExporter, left: Any) -> None:
        self._exporter = exporter
        self._left = left

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._left(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                metrics.TRACE_SPANS_DROPPED.labels("not_taken").inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _parsed(traceparent: str) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)))
