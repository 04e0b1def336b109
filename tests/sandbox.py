"""The sandbox in the test's own loop, and verbs for it."""

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
    """Arms faults, turns what a service has, reads its books."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)

    async def arm(self, **fault: Any) -> None:
        """The fields of `local.sandbox.faults.Fault`."""
        await self._ask("POST", "/sandbox/faults", fault)

    async def clear(self) -> None:
        await self._ask("DELETE", "/sandbox/faults")

    async def happened(self) -> dict[str, int]:
        """How often each kind of fault hit a request."""
        answer: dict[str, int] = (await self._ask("GET", "/sandbox/faults"))["happened"]
        return answer

    async def books(self) -> dict[str, Any]:
        """By service."""
        answer: dict[str, Any] = await self._ask("GET", "/sandbox/books")
        return answer

    async def put(self, path: str, body: dict[str, Any]) -> None:
        await self._ask("PUT", path, body)

    async def subscribe(self) -> dict[str, Any]:
        """A new browser's `PushSubscription.toJSON()`."""
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
    """A fresh one, on a port of the loopback."""
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
