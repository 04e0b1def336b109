"""The HTTP server beside each service."""

import httpx
import pytest

from shared.telemetry import exposition
from shared.telemetry.exposition import Health


@pytest.fixture(scope="module")
def url() -> str:
    """A process whose loops turn, and that cannot work for now."""
    health = Health(live=list, ready=lambda: ["Postgres does not answer"])
    return f"http://127.0.0.1:{exposition.serve('127.0.0.1', 0, health)}"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/metrics", 200),
        ("GET", "/health/live", 200),
        ("GET", "/health/ready", 503),
        ("GET", "/", 404),
        ("GET", "/metrics/", 404),
        ("GET", "/health", 404),
        ("GET", "/favicon.ico", 404),
        ("POST", "/nowhere", 404),
        ("POST", "/metrics", 405),
        ("OPTIONS", "/metrics", 405),
        ("PUT", "/health/live", 405),
        ("DELETE", "/health/ready", 405),
    ],
)
def test_each_address_answers_what_it_is(url: str, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{url}{path}", trust_env=False)
    assert answer.status_code == status
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    if status in (404, 405):
        assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/nowhere"])
def test_head_answers_as_get_without_the_body(url: str, path: str) -> None:
    with httpx.Client(trust_env=False, headers={"Accept-Encoding": "identity"}) as client:
        got, headed = client.get(f"{url}{path}"), client.head(f"{url}{path}")
    assert (headed.status_code, headed.content) == (got.status_code, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert int(headed.headers["content-length"]) > 0


@pytest.mark.parametrize(
    ("path", "status"), [("/metrics", 200), ("/health/live", 404), ("/health/ready", 404)]
)
def test_a_service_that_answers_health_checks_elsewhere_has_its_metrics_only(path: str, status: int) -> None:
    port = exposition.serve("127.0.0.1", 0)
    assert httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False).status_code == status
