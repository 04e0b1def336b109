"""A fresh sandbox for each test, on a port of the loopback."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import uvicorn

from local import ports
from local.sandbox import app
from services.worker.gateways.provider import Pace
from tests.eventually import eventually
from tests.sandbox import Sandbox


@pytest.fixture
def dead_url() -> str:
    """Where nobody listens."""
    return f"http://{ports.HOST}:{ports.pick('nobody')['nobody']}"


@pytest.fixture
def pace() -> Pace:
    """Of this process only."""
    return Pace("")


@pytest.fixture
async def shared_paces(redis_url: str) -> AsyncIterator[list[Pace]]:
    """As two workers have them."""
    paces = [Pace(redis_url), Pace(redis_url)]
    yield paces
    for pace in paces:
        await pace.close()


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    port = ports.pick("sandbox")["sandbox"]
    # Connections that gateways leave open would keep it for ever.
    config = uvicorn.Config(
        app.build(), host=ports.HOST, port=port, log_level="critical", ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    await eventually(lambda: server.started or serving.done())
    assert server.started
    client = Sandbox(f"http://{ports.HOST}:{port}")
    yield client
    await client.close()
    server.should_exit = True
    await serving
