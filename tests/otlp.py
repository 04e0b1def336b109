"""A collector of OpenTelemetry for tests: it receives spans as protobuf over HTTP, and
keeps them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Seen:
    """A span as a process sent it."""

    service: str
    name: str
    #: Kind of the span: SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL.
    kind: str
    trace_id: str
    span_id: str
    #: Id of the parent span; empty for the root span of a trace.
    parent: str
    #: Trace id and span id of each span to which this one links.
    links: list[tuple[str, str]]
    attributes: dict[str, Any]
    is_error: bool
    duration_s: float

    @property
    def context(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-01"

    @property
    def place(self) -> tuple[str, str]:
        """Trace id and span id, by which another span links to this one."""
        return self.trace_id, self.span_id


class Collector:
    """Keeps the spans that processes export to it."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        #: Environment variables that make a process send each of its spans to this collector almost
        #: at once.
        self.environment = {
            "OFTEN_TRACING": "on",
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "NO_PROXY": "127.0.0.1",
        }
        self._bodies: list[bytes] = []
        self._spans: list[Seen] = []
        self._lock = threading.Lock()

    def take(self, body: bytes) -> None:
        """Keep a request. It is decoded when the spans are asked for."""
        with self._lock:
            self._bodies.append(body)

    def spans(self, name: str = "", **attributes: Any) -> list[Seen]:
        """The spans that have arrived and have this name and these attributes.

        Write `__` for a dot in an attribute's name.
        """
        wanted = {key.replace("__", "."): value for key, value in attributes.items()}
        with self._lock:
            bodies, self._bodies = self._bodies, []
            for body in bodies:
                self._spans += _seen(ExportTraceServiceRequest.FromString(body))
            return [
                span
                for span in self._spans
                if name in ("", span.name) and wanted.items() <= span.attributes.items()
            ]

    def attempts(self, task_id: object) -> list[Seen]:
        """The spans of a task's attempts, in the order of the attempts."""
        found = [span for span in self.spans(messaging__message__id=str(task_id)) if span.kind == "CONSUMER"]
        return sorted(found, key=lambda span: int(span.attributes["often.attempt"]))


@contextmanager
def collecting() -> Iterator[Collector]:
    """Run a collector on a free port inside this context."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Suppress the server's log lines."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()


def _seen(request: Any) -> Iterator[Seen]:
    for resource in request.resource_spans:
        service = _values(resource.resource.attributes)["service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Seen(
                    service=service,
                    name=span.name,
                    kind=type(span).SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    links=[(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    attributes=_values(span.attributes),
                    is_error=span.status.code == type(span.status).STATUS_CODE_ERROR,
                    duration_s=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                )


def _values(attributes: Any) -> dict[str, Any]:
    """A span's attributes by name. Our attributes have only texts and integers as values."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}
