"""Runs the API as a separate process for tests."""

import asyncio
import secrets
import subprocess

import httpx

from local.ports import pick
from tests.eventually import eventually
from tests.platform import START_LIMIT_S, Platform


async def signed_up(platform: Platform, url: str, role: str = "user") -> httpx.AsyncClient:
    """Sign up a new account with this role at the API's address. Returns a signed-in HTTP client,
    which the caller closes.
    """
    credentials = {"email": f"{secrets.token_hex(8)}@often.example", "password": secrets.token_hex()}
    client = httpx.AsyncClient(base_url=f"{url}/api/v1/", trust_env=False, timeout=30)
    account = (await client.post("auth/register", json=credentials)).json()
    await platform.rows("UPDATE account SET role = {} WHERE id = {}", role, account["id"])
    tokens = (await client.post("auth/login", json=credentials)).json()
    client.headers["Authorization"] = f"Bearer {tokens['access_token']}"
    return client


class Api:
    """A process of the API. It can be stopped and started again under the same address."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.port = pick("api")["api"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._secret = secrets.token_hex(32)

    async def start(self, **environment: str) -> None:
        """Start the process, and wait until it is ready.

        Raises AssertionError if it ends before that, for example because a test kills it.
        """
        settings = {"OFTEN_API_PORT": str(self.port), "SECRET_KEY": self._secret, **environment}
        process: subprocess.Popen[bytes] = self.platform.start("services.api", **settings)
        self.process = process
        await eventually(lambda: self.platform.up(process, self.is_ready), START_LIMIT_S)

    async def sign_up(self, role: str = "user") -> httpx.AsyncClient:
        """Sign up a new account with this role. Returns a signed-in HTTP client, which the caller
        closes.
        """
        return await signed_up(self.platform, self.url, role)

    async def stop(self) -> None:
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 30)

    async def is_ready(self) -> bool:
        """Whether the API reports that it is ready. The request is asynchronous, because starting
        the API may depend on something that runs in the test's event loop.
        """
        async with httpx.AsyncClient(trust_env=False) as http:
            try:
                return (await http.get(f"{self.url}/health/ready")).is_success
            except httpx.TransportError:
                return False
