"""Tests how the API process stops, in steps: it reports that it is not ready, then closes its port,
then its connections.
"""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform

#: Seconds for which the API drains, that is, still answers requests before it stops. Several
#: requests fit in, even on a busy machine.
DRAIN_S = 2
LIVE = "/health/live"


@pytest.fixture
async def api(platform: Platform) -> Api:
    return Api(platform)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False, timeout=10) as http:
        yield http


def _refuses_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


async def test_a_stopping_api_reports_it_and_serves_until_proxies_have_noticed(
    api: Api, http: httpx.AsyncClient
) -> None:
    await api.start(OFTEN_API_DRAIN=str(DRAIN_S))
    assert (await http.get(f"{api.url}{LIVE}")).headers.get("connection") != "close"
    api.process.send_signal(signal.SIGTERM)

    async def readiness() -> Any:
        answer = await http.get(f"{api.url}/health/ready")
        return answer if answer.status_code == 503 else None

    turned = await eventually(readiness, 5)
    assert turned.json() == {"status": "stopping", "servers": {}}
    served = [await http.get(f"{api.url}{path}") for path in (LIVE, "/", "/api/v1/tasks", LIVE)]
    assert [answer.status_code for answer in served] == [200, 200, 401, 200]
    # While the API drains, every answer has `Connection: close`, because a connection that stayed
    # open would be cut during its next request.
    assert {answer.headers["connection"] for answer in served} == {"close"}
    await asyncio.to_thread(api.process.wait, 10)
    assert api.process.returncode == 0
    assert _refuses_connections(api.port)


async def test_no_request_is_refused_before_readiness_has_turned_and_open_ones_are_finished(
    api: Api, http: httpx.AsyncClient
) -> None:
    await api.start(OFTEN_API_DRAIN=str(DRAIN_S))
    head = "POST /api/v1/auth/login HTTP/1.1\r\nHost: often\r\nContent-Length: 2\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(head.encode())
    seen: list[tuple[int, int]] = []

    async def visit() -> None:
        """Send requests as a proxy does, each followed by a readiness check, until the API answers
        the check with 503.
        """
        while not seen or seen[-1][1] != 503:
            answer = await http.get(f"{api.url}{LIVE}")
            seen.append((answer.status_code, (await http.get(f"{api.url}/health/ready")).status_code))

    visiting = asyncio.create_task(visit())
    await eventually(lambda: len(seen) > 3)
    api.process.send_signal(signal.SIGTERM)
    await visiting
    assert {status for status, _ in seen} == {200}
    await eventually(lambda: _refuses_connections(api.port))
    writer.write(b"{}")
    answer = (await asyncio.wait_for(reader.read(), 10)).decode()
    writer.close()
    assert answer.startswith("HTTP/1.1 400 ")
    await asyncio.to_thread(api.process.wait, 10)
    assert api.process.returncode == 0


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM], [signal.SIGTERM, signal.SIGINT]],
    ids=["Ctrl-C", "twice", "Ctrl-C in the drain"],
)
async def test_ctrl_c_and_a_second_signal_do_not_wait_for_the_drain(
    api: Api, signals: list[signal.Signals]
) -> None:
    await api.start(OFTEN_API_DRAIN="600")
    for number in signals:
        api.process.send_signal(number)
        await eventually(lambda: _is_unready(api))
    await asyncio.to_thread(api.process.wait, 10)
    assert api.process.returncode == 0


async def test_idle_connections_are_kept_as_long_as_the_setting_says(api: Api) -> None:
    await api.start(OFTEN_KEEP_ALIVE="7")
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(f"GET {LIVE} HTTP/1.1\r\nHost: often\r\n\r\n".encode())
    began = asyncio.get_running_loop().time()
    # `read` returns when the server closes the connection. With its default keep-alive time,
    # uvicorn would close it after 5 s.
    await asyncio.wait_for(reader.read(), 30)
    writer.close()
    assert asyncio.get_running_loop().time() - began >= 7


async def test_a_client_that_disconnects_is_no_error_in_the_log(api: Api) -> None:
    await api.start()
    for head in ("POST /api/v1/auth/login", "POST /api/v1/tasks", "GET /health/ready", "GET /docs"):
        _, writer = await asyncio.open_connection("127.0.0.1", api.port)
        writer.write(f"{head} HTTP/1.1\r\nHost: often\r\nContent-Length: 100\r\n\r\n{{".encode())
        await writer.drain()
        writer.transport.abort()
    assert await api.is_ready()
    await api.stop()
    log = api.platform.log_of(api.process)
    assert "Traceback" not in log
    assert "ERROR" not in log


async def _is_unready(api: Api) -> bool:
    return not await api.is_ready()
