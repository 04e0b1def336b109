"""Records tracing spans in this process, in place of OpenTelemetry."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.telemetry.tracing import Attributes


@dataclass
class RecordedSpan:
    """A recorded span, which implements `tracing.Span`."""

    name: str
    kind: str
    parent: str | None
    links: list[str]
    number: int
    attributes: dict[str, str | int]
    error_type: str | None = None
    ended: bool = False
    labels: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        trace_id = self.parent.split("-")[1] if self.parent else f"{self.number:032x}"
        self.context = f"00-{trace_id}-{self.number:016x}-01"
        self.labels["trace_id"] = trace_id

    def rename(self, name: str) -> None:
        self.name = name

    def set(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def fail(self, error_type: str) -> None:
        self.error_type = error_type

    def attach(self) -> Any:
        return None

    def detach(self, token: Any) -> None:
        """Do nothing: no context was attached."""

    def end(self) -> None:
        self.ended = True


class RecordedSpans:
    """Implements `tracing.Spans`, and keeps every span that was begun."""

    def __init__(self) -> None:
        self.begun: list[RecordedSpan] = []

    def begin(
        self, name: str, kind: str, attributes: Attributes, *, parent: str | None, links: Sequence[str]
    ) -> RecordedSpan:
        span = RecordedSpan(name, kind, parent, list(links), len(self.begun) + 1, dict(attributes))
        self.begun.append(span)
        return span

    def stop(self, limit_s: float) -> bool:
        return True
