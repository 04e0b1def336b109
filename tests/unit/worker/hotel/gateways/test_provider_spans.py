"""Tests of the tracing spans of requests to outside services inside a traced attempt."""

from datetime import timedelta

import httpx
import pytest

from services.worker.hotel.gateways.provider import Pace, Provider, ProviderAway
from shared.telemetry import tracing
from tests.recorded_spans import RecordedSpans

URL = "https://api.example/v1/search?api_key=secret"


def provider(status: int) -> Provider:
    def answer(request: httpx.Request) -> httpx.Response:
        if not status:
            raise httpx.ConnectError(f"cannot reach {request.url}")
        assert "traceparent" not in request.headers
        return httpx.Response(status)

    transport = httpx.MockTransport(answer)
    return Provider(
        "Example", pace=Pace(""), rate="9/second", deadline=timedelta(seconds=9), transport=transport
    )


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> RecordedSpans:
    recorded = RecordedSpans()
    monkeypatch.setattr(tracing, "_spans", recorded)
    return recorded


@pytest.mark.parametrize(
    ("status", "error_type"), [(200, None), (404, "404"), (503, "503"), (0, "ProviderAway")]
)
async def test_a_request_is_a_span_without_its_address(
    spans: RecordedSpans, status: int, error_type: str | None
) -> None:
    gateway = provider(status)
    with tracing.firing("nightly"):
        try:
            await gateway.request("GET", URL)
        except ProviderAway:
            assert status in (503, 0)
    await gateway.close()
    above, span = spans.begun
    assert (span.name, span.kind, span.parent) == ("GET Example", "CLIENT", above.context)
    assert span.attributes == {
        "http.request.method": "GET",
        "server.address": "api.example",
        "peer.service": "Example",
        **({"http.response.status_code": status} if status else {}),
    }
    assert (span.error_type, span.ended) == (error_type, True)
    assert "secret" not in repr(spans.begun)


async def test_a_request_outside_of_a_trace_is_no_span(spans: RecordedSpans) -> None:
    gateway = provider(200)
    await gateway.request("GET", URL)
    await gateway.close()
    assert spans.begun == []
