"""Traces HTTP requests, firings of schedules, and attempts of tasks. Nothing is traced unless
`start` was called and the settings enable tracing.

The trace of a task is stored in its column `trace_context`, which is null if the task is not
sampled. Only `shared.telemetry.spans` uses OpenTelemetry; `start` imports it.
"""

import importlib
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, Protocol
from uuid import UUID

from shared.errors import SettingsError
from shared.settings import Settings
from shared.telemetry import metrics

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int]

#: Pattern of a valid `traceparent` of W3C Trace Context, version 00.
TRACEPARENT = re.compile(r"\b00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}\b")
#: First word of a task's trace context if its attempts only link to the given spans. Without this
#: word, the given span is the parent of the first attempt.
LINK = "link"
#: Maximum time in seconds for which a stopping process waits until pending spans are exported.
FLUSH_S = 1.0


class Span(Protocol):
    """A sampled span of a trace that has begun."""

    #: The `traceparent` value that identifies this span.
    context: str
    #: Fields that log lines and exemplars contain while this span is current: `trace_id`, and
    #: `task_id` for an attempt.
    labels: dict[str, str]

    def rename(self, name: str) -> None: ...

    def set(self, attributes: Attributes) -> None: ...

    def fail(self, error_type: str) -> None:
        """Mark the span as failed. It records only the type of the error, because the error's text
        may contain parameters of the task.
        """

    def attach(self) -> Any:
        """Make this span the parent of spans that libraries begin in the current context. Returns a
        token for `detach`.
        """

    def detach(self, token: Any) -> None:
        """Undo the call of `attach` that returned the token."""

    def end(self) -> None: ...


class Spans(Protocol):
    """The interface of `shared.telemetry.spans.Exported`, which begins and exports spans."""

    def begin(
        self, name: str, kind: str, attributes: Attributes, *, parent: str | None, links: Sequence[str]
    ) -> Span | None:
        """Begin a span. Returns None if it is not sampled. `parent` and each of `links` are
        `traceparent` values.
        """

    def stop(self, limit_s: float) -> bool:
        """Export the pending spans. Returns False if that takes longer than the limit."""


_spans: Spans | None = None
#: True if the span of a request has the caller's `traceparent` as its parent; False if it only
#: links to it.
_follows_callers = False
#: True if the next attempt of a task is traced after an untraced attempt has failed.
_traces_retries = False
_current: ContextVar[Span | None] = ContextVar("span", default=None)
_NOT_TRACED: AbstractContextManager[None] = nullcontext()


def start(settings: Settings, service: str, *, decides: bool = True) -> None:
    """Enable tracing if the settings say so. Raises SettingsError.

    A service with `decides` samples the traces that begin in it. A service without it traces only
    tasks that are already sampled.
    """
    global _spans, _follows_callers, _traces_retries
    if settings.tracing == "off":
        return
    try:
        spans = importlib.import_module("shared.telemetry.spans")
        _spans = spans.Exported(service, decides=decides)
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"OFTEN_TRACING is on, but the package {error.name} is missing; install the extra `tracing`, "
            "or set OFTEN_TRACING=off"
        ) from None
    except ValueError as error:
        raise SettingsError(
            f"OFTEN_TRACING is on, but a variable of OpenTelemetry (OTEL_...) has a wrong value: {error}; "
            "correct it, or set OFTEN_TRACING=off"
        ) from None
    metrics.expect_spans()
    _follows_callers = settings.trace_callers == "follow"
    _traces_retries = settings.trace_retries == "on"


def stop() -> None:
    """Export the last spans, for at most FLUSH_S seconds, at the end of the process."""
    if _spans is not None and not _spans.stop(FLUSH_S):
        log.warning("the last spans were not sent: the collector did not take them within %g s", FLUSH_S)


def labels() -> dict[str, str] | None:
    """The fields that log lines and exemplars contain for the current span. None if there is no
    current span.
    """
    span = _current.get()
    return None if span is None else span.labels


def request(method: str, headers: Iterable[tuple[bytes, bytes]]) -> AbstractContextManager[Span | None]:
    """Begin the span of an HTTP request.

    By default, the span only links to the caller's `traceparent`. If it continued the caller's
    trace, as the setting `trace_callers` allows, any unknown caller could have all of its requests
    sampled.
    """
    if _spans is None:
        return _NOT_TRACED
    given = [value.decode("latin-1") for name, value in headers if name == b"traceparent"]
    callers = given if len(given) == 1 and TRACEPARENT.fullmatch(given[0]) else []
    parent, links = (callers[0], []) if callers and _follows_callers else (None, callers)
    return _open(_begin(method, "SERVER", {"http.request.method": method}, parent=parent, links=links))


def firing(schedule: str) -> AbstractContextManager[Span | None]:
    """Begin the span of the firing of a schedule."""
    if _spans is None:
        return _NOT_TRACED
    return _open(_begin(f"fire {schedule}", "INTERNAL", {"often.schedule": schedule}))


def sending(name: str, attributes: Attributes) -> AbstractContextManager[Span | None]:
    """Begin the span of a submission of tasks as a child of the current span. There is no span if
    none is current.
    """
    sender = _current.get()
    if sender is None:
        return _NOT_TRACED
    described = {**_messaging("send"), **attributes}
    return _open(_begin(f"send {name}", "PRODUCER", described, parent=sender.context))


def calling(service: str, method: str, host: str) -> AbstractContextManager[Span | None]:
    """Begin the span of a request to an outside service as a child of the current span. There is no
    span if none is current.
    """
    caller = _current.get()
    if caller is None:
        return _NOT_TRACED
    described = {"http.request.method": method, "server.address": host, "peer.service": service}
    return _open(_begin(f"{method} {service}", "CLIENT", described, parent=caller.context))


def begin_attempt(trace_context: str, name: str, queue: str, task_id: UUID, number: int) -> Span | None:
    """Begin the span of an attempt of a task. The caller must end the span."""
    if _spans is None:
        return None
    contexts = TRACEPARENT.findall(trace_context)
    follows = number == 1 and not trace_context.startswith(LINK)
    described = {
        **_messaging("process"),
        "messaging.destination.name": queue,
        "messaging.message.id": str(task_id),
        "often.task": name,
        "often.attempt": number,
    }
    parent, links = (contexts[0], []) if contexts and follows else (None, contexts)
    span = _begin(f"process {name}", "CONSUMER", described, parent=parent, links=links)
    if span is not None:
        span.labels["task_id"] = str(task_id)
    return span


def context_of(span: Span | None, *, follows: bool) -> str | None:
    """The trace context for a task that is submitted in this span. The task's first attempt is a
    child of the span if `follows` is true; otherwise, it links to the span.
    """
    if span is None:
        return None
    return span.context if follows else f"{LINK} {span.context}"


def context_of_retry() -> str | None:
    """The trace context for the next attempt of a task that has failed without being traced. None
    if such attempts are not traced.
    """
    return LINK if _traces_retries else None


def trace_id_of(trace_context: str | None) -> str | None:
    """The id of the trace that a task's trace context names; of several traces, the last one."""
    contexts = TRACEPARENT.findall(trace_context or "")
    return contexts[-1].split("-")[1] if contexts else None


def enter(span: Span) -> None:
    """Make the span current until the current `contextvars` context ends."""
    _current.set(span)
    span.attach()


def within(span: Span | None) -> AbstractContextManager[None]:
    """Make the span current inside the `with` block. Does nothing if it is None."""
    return _NOT_TRACED if span is None else _within(span)


@contextmanager
def _within(span: Span) -> Iterator[None]:
    token = _current.set(span)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def _open(span: Span | None) -> Iterator[Span | None]:
    """Make the span current inside the `with` block, and end it afterwards."""
    if span is None:
        yield None
        return
    token = span.attach()
    try:
        with _within(span):
            yield span
    except BaseException as error:
        span.fail(type(error).__qualname__)
        raise
    finally:
        span.detach(token)
        span.end()


def _begin(
    name: str, kind: str, attributes: Attributes, *, parent: str | None = None, links: Sequence[str] = ()
) -> Span | None:
    assert _spans is not None  # a span can only be current after `start` has set `_spans`
    return _spans.begin(name, kind, attributes, parent=parent, links=links)


def _messaging(operation: str) -> dict[str, str | int]:
    """Span attributes of OpenTelemetry's semantic conventions for messaging."""
    return {
        "messaging.system": "often_tasks",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
