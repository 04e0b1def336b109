"""The API in a process of its own."""

import asyncio
import secrets
import subprocess

import httpx

from local.ports import pick
from tests.eventually import eventually
from tests.platform import Platform

#: A busy machine starts several processes at once.
START_LIMIT_S = 60


class Api:
    """The API's process; it can be stopped and started again at its address."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.port = pick("api")["api"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._secret = secrets.token_hex(32)

    async def start(self, **environment: str) -> None:
        settings = {"OFTEN_API_PORT": str(self.port), "SECRET_KEY": self._secret, **environment}
        self.process: subprocess.Popen[bytes] = self.platform.start("services.api", **settings)
        await eventually(self.is_ready, START_LIMIT_S)

    async def sign_up(self, role: str = "user") -> httpx.AsyncClient:
        """A client that is signed in as a new account of this role; the caller closes it."""
        credentials = {"email": f"{secrets.token_hex(8)}@often.example", "password": secrets.token_hex()}
        client = httpx.AsyncClient(base_url=f"{self.url}/api/v1/", trust_env=False, timeout=30)
        account = (await client.post("auth/register", json=credentials)).json()
        await self.platform.rows("UPDATE account SET role = {} WHERE id = {}", role, account["id"])
        tokens = (await client.post("auth/login", json=credentials)).json()
        client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
        return client

    async def stop(self) -> None:
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 30)

    async def is_ready(self) -> bool:
        """Asks without blocking the loop, where a test may run what the API waits for."""
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                return (await http.get(f"{self.url}/health/ready")).is_success
            except httpx.TransportError:
                return False
