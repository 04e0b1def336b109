"""Tests of the HTTP server with metrics and health checks that each service runs."""

import platform

import httpx
import pytest

from shared.release import RELEASE
from shared.telemetry import exposition
from shared.telemetry.exposition import Health


@pytest.fixture(scope="module")
def url() -> str:
    """URL of a metrics server that reports its process as alive but not ready."""
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
def test_each_path_has_its_own_answer(url: str, method: str, path: str, status: int) -> None:
    answer = httpx.request(method, f"{url}{path}", trust_env=False)
    assert answer.status_code == status
    assert answer.headers.get("allow") == ("GET, HEAD" if status == 405 else None)
    if status in (404, 405):
        assert answer.json()["detail"]


@pytest.mark.parametrize("path", ["/metrics", "/health/live", "/health/ready", "/nowhere"])
def test_head_answers_like_get_without_the_body(url: str, path: str) -> None:
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


def test_metrics_are_openmetrics_and_compressed_for_those_who_ask(url: str) -> None:
    asked = {"Accept": "application/openmetrics-text; version=1.0.0", "Accept-Encoding": "gzip"}
    answer = httpx.get(f"{url}/metrics", headers=asked, trust_env=False)
    kind = answer.headers["content-type"]
    assert kind.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert kind.count("charset") == 1
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.text.endswith("# EOF\n")
    assert f'often_build_info{{python="{platform.python_version()}",release="{RELEASE}"}} 1.0' in answer.text
