"""Links a page to the trace of what it shows, in the tracing system of the company."""

from dataclasses import dataclass

from shared.settings import Settings
from shared.telemetry import tracing


@dataclass(frozen=True, slots=True)
class TraceLink:
    """The id of a trace, and its address. The address is empty if OFTEN_TRACE_URL is not set."""

    id: str
    address: str


def of(trace_context: str | None, settings: Settings) -> TraceLink | None:
    """The link to the trace that a row's trace context names; None if the row is not traced."""
    trace_id = tracing.trace_id_of(trace_context)
    return TraceLink(trace_id, settings.trace_url.replace("{trace_id}", trace_id)) if trace_id else None
