"""Fixtures and signed-in callers for tests of event streams over real connections."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.api_process import Api
from tests.event_stream import Followed, following
from tests.platform import Platform
from tests.sample_tasks import Seconds

PASSWORD = "correct horse"
#: Parameters of a task that would run for longer than any test.
LONG = Seconds(seconds=300)


class Caller:
    """A signed-in account, with methods that send its requests to the API."""

    def __init__(self, http: httpx.AsyncClient, account_id: int, token: str) -> None:
        self.http = http
        self.id = account_id
        self.headers = {"Authorization": f"Bearer {token}"}

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.http.get(path, params=params, headers=self.headers)

    def follow(self, path: str, after: str | None = None) -> Any:
        return following(self.http, path, self.headers, after=after)


@pytest.fixture
async def api(platform: Platform) -> Api:
    return Api(platform)


@pytest.fixture
async def http(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(
        base_url=f"{api.url}/api/v1", trust_env=False, timeout=90, limits=limits
    ) as http:
        yield http


async def register(http: httpx.AsyncClient, name: str = "ann") -> Caller:
    """Create an account with this name and sign it in."""
    account = (await http.post("/auth/register", json=_credentials(name))).json()
    return Caller(http, account["id"], await sign_in(http, name))


async def sign_in(http: httpx.AsyncClient, name: str = "ann") -> str:
    """Sign in to an existing account. Returns an access token."""
    token: str = (await http.post("/auth/login", json=_credentials(name))).json()["access_token"]
    return token


def _credentials(name: str) -> dict[str, str]:
    return {"email": f"{name}@often.example", "password": PASSWORD}


def task_ids(followed: Followed) -> set[str]:
    """The ids of all tasks in the changes that the stream of a list has sent."""
    return {task["task_id"] for change in followed.of("change") for task in change["tasks"]}
