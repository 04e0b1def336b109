"""Runs the sandbox (the simulated outside services) in the test's event loop, and controls it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import uvicorn

from local import ports
from local.sandbox import app
from tests.eventually import eventually


class Sandbox:
    """A client for the sandbox, which injects faults, changes the simulated services, and reads
    their records.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)

    async def arm(self, **fault: Any) -> None:
        """Inject a fault. The arguments are the fields of `local.sandbox.faults.Fault`."""
        await self._ask("POST", "/sandbox/faults", fault)

    async def clear(self) -> None:
        await self._ask("DELETE", "/sandbox/faults")

    async def happened(self) -> dict[str, int]:
        """Number of requests that each kind of fault has hit."""
        answer: dict[str, int] = (await self._ask("GET", "/sandbox/faults"))["happened"]
        return answer

    async def books(self) -> dict[str, Any]:
        """What the simulated services have recorded, by service."""
        answer: dict[str, Any] = await self._ask("GET", "/sandbox/books")
        return answer

    async def put(self, path: str, body: dict[str, Any]) -> None:
        await self._ask("PUT", path, body)

    async def subscribe(self) -> dict[str, Any]:
        """Subscribe a new simulated browser to push messages.

        Returns its `PushSubscription.toJSON()`.
        """
        answer: dict[str, Any] = await self._ask("POST", "/sandbox/push/subscriptions")
        return answer

    async def unsubscribe(self, endpoint: str) -> None:
        await self._ask("DELETE", f"/sandbox/push/subscriptions/{endpoint.rpartition('/')[2]}")

    async def close(self) -> None:
        await self._http.aclose()

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        response = await self._http.request(method, path, json=body)
        assert response.is_success, response.text
        return response.json() if response.content else None


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[Sandbox]:
    """Run a new sandbox on a loopback port inside this context."""
    port = ports.pick("sandbox")["sandbox"]
    # The time-out is needed because connections that gateways leave open would keep the server
    # running forever.
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
