"""Tests of when a span begins, what its parent is, and to which spans it is linked."""

import importlib
import logging
import subprocess
import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from shared import settings
from shared.errors import SettingsError
from shared.telemetry import tracing
from tests.platform import ROOT
from tests.recorded_spans import RecordedSpans

ENVIRONMENT = {"DATABASE_URL": "postgresql://db/often", "REDIS_URL": "redis://cache"}
CALLER = f"00-{0xA:032x}-{0xB:016x}-01"
OTHER = f"00-{0xC:032x}-{0xD:016x}-01"
TRACEPARENT = [(b"accept", b"*/*"), (b"traceparent", CALLER.encode())]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedSpans:
    recorded = RecordedSpans()
    monkeypatch.setattr(tracing, "_spans", recorded)
    return recorded


def started(monkeypatch: pytest.MonkeyPatch, **environment: str) -> None:
    """Start tracing in this process, with these environment variables.

    The test undoes it at its end.
    """
    for name in ("_spans", "_follows_callers", "_traces_retries"):
        monkeypatch.setattr(tracing, name, getattr(tracing, name))
    tracing.start(settings.read(ENVIRONMENT | environment), "api")


def attempt(context: str, number: int = 1) -> tracing.Span | None:
    return tracing.begin_attempt(context, "area.do", "default", uuid4(), number)


#: A program that imports every service, with tracing off, and prints which OpenTelemetry modules
#: were imported for that. redis-py imports the metrics of OpenTelemetry's SDK wherever they are
#: installed.
OFF = f"""
from shared import settings
from shared.telemetry import tracing
import services.api.__main__, services.worker.__main__, services.scheduler.__main__
tracing.start(settings.read({ENVIRONMENT}), "api")
print([name for name in sys.modules if name.startswith(
    ("shared.telemetry.spans", "opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""


@pytest.mark.parametrize(
    "prepared", ["", "sys.modules['opentelemetry'] = None"], ids=["installed", "missing"]
)
def test_opentelemetry_is_neither_needed_nor_loaded_while_tracing_is_off(prepared: str) -> None:
    command = [sys.executable, "-c", f"import sys; {prepared}\n{OFF}"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")


def test_a_missing_package_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "shared.telemetry.spans", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match="opentelemetry is missing; install the extra `tracing`"):
        started(monkeypatch, OFTEN_TRACING="on")


def test_a_wrong_variable_of_opentelemetry_is_an_error_that_names_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.setenv(name, "")  # makes monkeypatch restore the variable after `start` has set it
        monkeypatch.delenv(name)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    with pytest.raises(SettingsError, match=r"OpenTelemetry \(OTEL_...\) has a wrong value: .*many"):
        started(monkeypatch, OFTEN_TRACING="on")


def test_the_settings_say_how_callers_and_retries_are_traced(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = RecordedSpans()
    loaded = SimpleNamespace(Exported=lambda service, *, decides: recorded)
    monkeypatch.setitem(sys.modules, "shared.telemetry.spans", loaded)
    for given in ({}, {"OFTEN_TRACE_CALLERS": "follow", "OFTEN_TRACE_RETRIES": "on"}):
        started(monkeypatch, OFTEN_TRACING="on", **given)
        with tracing.request("GET", TRACEPARENT):
            pass
        assert tracing.context_of_retry() == ("link" if given else None)
    assert [span.parent for span in recorded.begun] == [None, CALLER]


def test_without_tracing_nothing_is_traced() -> None:
    with tracing.request("GET", TRACEPARENT) as request, tracing.firing("nightly") as firing:
        assert (request, firing, attempt(CALLER), tracing.labels()) == (None, None, None, None)


def test_a_request_of_a_stranger_begins_a_trace_that_links_to_its_caller(spans: RecordedSpans) -> None:
    with tracing.request("POST", TRACEPARENT) as span:
        assert tracing.labels() == {"trace_id": f"{1:032x}"}
        assert span is spans.begun[0]
    assert tracing.labels() is None
    assert (spans.begun[0].parent, spans.begun[0].links, spans.begun[0].ended) == (None, [CALLER], True)


def test_a_trusted_caller_is_followed(spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_follows_callers", True)
    with tracing.request("POST", TRACEPARENT), tracing.request("POST", []):
        pass
    assert [(span.parent, span.links) for span in spans.begun] == [(CALLER, []), (None, [])]


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"00-" + b"0" * 32 + b"-00000000000000b7-01",
        b"00-" + b"a" * 32 + b"-" + b"0" * 16 + b"-01",
        b"00-" + b"A" * 32 + b"-00000000000000b7-01",
        CALLER.encode() + b"-more",
        b"x " + CALLER.encode(),
        b"\xff" * 55,
    ],
)
@pytest.mark.parametrize("follows", [False, True])
def test_a_header_that_is_no_traceparent_counts_as_none(
    spans: RecordedSpans, monkeypatch: pytest.MonkeyPatch, header: bytes, follows: bool
) -> None:
    monkeypatch.setattr(tracing, "_follows_callers", follows)
    with tracing.request("GET", [(b"traceparent", header)]), tracing.request("GET", TRACEPARENT * 2):
        pass
    assert [(span.parent, span.links) for span in spans.begun] == [(None, []), (None, [])]


@pytest.mark.parametrize(
    ("context", "number", "parent", "links"),
    [
        (CALLER, 1, CALLER, []),
        (CALLER, 2, None, [CALLER]),
        (f"link {CALLER}", 1, None, [CALLER]),
        (f"link {CALLER} {OTHER}", 1, None, [CALLER, OTHER]),
        ("link", 2, None, []),
        ("written by another release", 1, None, []),
    ],
)
def test_the_row_says_what_an_attempt_follows_or_links_to(
    spans: RecordedSpans, context: str, number: int, parent: str | None, links: list[str]
) -> None:
    span = attempt(context, number)
    assert (spans.begun[0].parent, spans.begun[0].links) == (parent, links)
    assert span is not None
    assert span.labels["task_id"] == spans.begun[0].attributes["messaging.message.id"]


def test_what_is_sent_or_called_outside_of_a_trace_begins_none(spans: RecordedSpans) -> None:
    with tracing.sending("area.do", {}) as sent, tracing.calling("Stripe", "GET", "api.example") as called:
        assert (sent, called) == (None, None)
    assert spans.begun == []


def test_a_span_inside_another_one_is_below_it_and_fails_with_the_type_of_an_error(
    spans: RecordedSpans,
) -> None:
    with tracing.firing("nightly"), pytest.raises(KeyError), tracing.calling("Stripe", "GET", "api.example"):
        raise KeyError("card 4111")
    above, below = spans.begun
    assert below.parent == above.context
    assert (below.error_type, below.ended, above.error_type) == ("KeyError", True, None)
    assert "4111" not in repr(spans.begun)


@pytest.mark.parametrize(
    ("context", "trace_id"),
    [(None, None), ("link", None), (CALLER, f"{0xA:032x}"), (f"link {CALLER} {OTHER}", f"{0xC:032x}")],
)
def test_the_trace_of_a_row_is_the_last_one_that_it_names(context: str | None, trace_id: str | None) -> None:
    assert tracing.trace_id_of(context) == trace_id


def test_a_line_logged_in_a_trace_has_its_id(
    spans: RecordedSpans, capsys: pytest.CaptureFixture[str], configured: Callable[[str, str], None]
) -> None:
    configured("worker", "json")
    with tracing.firing("nightly"):
        logging.getLogger("unit").warning("inside")
    logging.getLogger("unit").warning("outside")
    inside, outside = capsys.readouterr().err.splitlines()
    assert f'"trace_id": "{1:032x}"' in inside
    assert "trace_id" not in outside


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The function `logging.configure`. Its effects are undone after the test."""
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    return importlib.import_module("shared.telemetry.logging").configure
