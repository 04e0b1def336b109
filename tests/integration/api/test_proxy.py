"""Tests of the API behind a proxy: which address counts as the client's, and the separate port of
the metrics.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator

import httpx
import pytest

from local import ports
from tests.api_process import Api
from tests.platform import Platform

LIMIT = "3/minute"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        yield http


async def _statuses(http: httpx.AsyncClient, api: Api, forwarded: list[str]) -> list[int]:
    return [
        (await http.get(f"{api.url}/docs", headers={"X-Forwarded-For": value})).status_code
        for value in forwarded
    ]


async def test_behind_a_trusted_proxy_the_address_that_it_added_counts(
    platform: Platform, http: httpx.AsyncClient
) -> None:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_ADDRESS=LIMIT, FORWARDED_ALLOW_IPS="127.0.0.1, 10.0.0.0/8")
    # Values of X-Forwarded-For. The client invents the first address, the outer proxy adds the
    # client's real one, and the inner proxy adds the outer proxy's.
    invented = [f"203.0.113.{number}, 198.51.100.7, 10.0.0.2" for number in range(5)]
    assert await _statuses(http, api, invented) == [200, 200, 200, 429, 429]
    assert await _statuses(http, api, ["198.51.100.8, 10.0.0.2"]) == [200]


async def test_what_an_untrusted_client_says_about_its_address_is_ignored(
    platform: Platform, http: httpx.AsyncClient
) -> None:
    api = Api(platform)
    await api.start(OFTEN_RATE_LIMIT_ADDRESS=LIMIT, FORWARDED_ALLOW_IPS="10.0.0.0/8")
    assert await _statuses(http, api, [f"203.0.113.{n}" for n in range(4)]) == [200, 200, 200, 429]


async def test_metrics_have_a_separate_port(platform: Platform, http: httpx.AsyncClient) -> None:
    api, port = Api(platform), ports.pick("metrics")["metrics"]
    await api.start(OFTEN_METRICS_PORT=str(port))
    await http.get(f"{api.url}/docs")
    assert (await http.get(f"{api.url}/metrics")).status_code == 404
    values = await platform.metrics(port)
    counted = [name for name in values if name.startswith("often_http_requests_total") and "'/docs'" in name]
    assert [values[name] for name in counted] == [1]


async def test_a_taken_metrics_port_is_reported_in_one_line_with_status_2(platform: Platform) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = str(taken.sockets[0].getsockname()[1])
    process = platform.start("services.api", OFTEN_METRICS_PORT=port, SECRET_KEY=secrets.token_urlsafe(48))
    assert await asyncio.to_thread(process.wait, 30) == 2
    taken.close()
    assert "api: OFTEN_METRICS_HOST and OFTEN_METRICS_PORT: cannot listen" in platform.log_of(process)
