"""Tests of request metrics: requests are counted by route and status, except streams.

Abandoned requests do not count as answered.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from services.api.drain import Drain
from services.api.http.envelope import Envelope
from shared.telemetry import histogram, tracing
from tests.metric_values import value
from tests.recorded_spans import RecordedSpans

BEGINS = {"type": "http.response.start", "status": 200, "headers": []}
ENDS = {"type": "http.response.body", "body": b""}


async def answers(_: Any, __: Any, send: Any) -> None:
    for message in (BEGINS, ENDS):
        await send(dict(message))


async def is_abandoned(_: Any, __: Any, ___: Any) -> None:
    raise asyncio.CancelledError


async def _follow(_: Any) -> None:
    """Does nothing, in place of `follow`, to which the API reports a request's audited actions."""


async def _call(app: Any, path: str, media_type: str = "application/json") -> None:
    handler = SimpleNamespace(media_type=media_type)
    scope = {"type": "http", "method": "GET", "path": path, "path_template": path, "headers": []}

    async def send(_: Any) -> None:
        """Accepts every message, as a client would that receives everything."""

    envelope = Envelope(app, Drain(), _follow)
    await envelope({**scope, "route_handler": handler, "state": {}}, None, send)  # type: ignore[arg-type]


def _count(path: str, status: int) -> float:
    labels = {"method": "GET", "path": path, "status_code": str(status), "app_name": "api"}
    return value("often_http_requests_total", **labels)


async def test_a_request_without_an_answer_is_not_counted_as_answered() -> None:
    with pytest.raises(asyncio.CancelledError):
        await _call(is_abandoned, "/abandoned")
    assert (_count("/abandoned", 200), _count("/abandoned", 499)) == (0, 1)


@pytest.mark.parametrize(
    ("path", "media_type", "counted"),
    [("/orders/events", "application/json", 1), ("/orders/log", "text/event-stream", 0)],
)
async def test_a_stream_is_known_by_what_its_route_declares(path: str, media_type: str, counted: int) -> None:
    await _call(answers, path, media_type)
    assert _count(path, 200) == counted


async def test_a_traced_request_is_an_exemplar_of_its_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    spans = RecordedSpans()
    monkeypatch.setattr(tracing, "_spans", spans)
    await _call(answers, "/traced")
    exposed = histogram.text(exemplars=True)
    exemplar = f'# {{trace_id="{spans.begun[0].labels["trace_id"]}"}}'
    lines = [line for line in exposed.splitlines() if '"/traced"' in line and exemplar in line]
    assert [line.partition("{")[0] for line in lines] == ["often_http_request_duration_seconds_bucket"]
    assert (spans.begun[0].name, spans.begun[0].ended) == ("GET /traced", True)
