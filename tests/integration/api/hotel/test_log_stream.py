"""Tests that a stream of log lines ends when its reader loses the session, the API key or the
account.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.api_process import Api
from tests.platform import Platform

ANN = {"email": "ann@often.example", "password": "correct horse"}
BOB = {"email": "bob@often.example", "password": "correct horse"}


@pytest.fixture
async def api(platform: Platform) -> AsyncIterator[httpx.AsyncClient]:
    started = Api(platform)
    await started.start()
    async with httpx.AsyncClient(base_url=f"{started.url}/api/v1", trust_env=False, timeout=60) as client:
        yield client


async def _sign_in(api: httpx.AsyncClient, who: dict[str, str] = ANN) -> tuple[dict[str, str], str]:
    tokens = (await api.post("/auth/login", json=who)).json()
    return {"Authorization": f"Bearer {tokens['access_token']}"}, tokens["refresh_token"]


async def _opened(
    stack: AsyncExitStack, api: httpx.AsyncClient, task: str, headers: dict[str, str]
) -> AsyncIterator[str]:
    """Open a stream of a task's log lines, and check that it has begun."""
    path = f"/admin/hotel-tracking/logs/{task}/stream"
    answer = await stack.enter_async_context(api.stream("GET", path, headers=headers))
    assert answer.status_code == 200
    lines = answer.aiter_lines()
    while await anext(lines) != "event: status":
        pass
    return lines


async def _last_event(lines: AsyncIterator[str]) -> str:
    async with asyncio.timeout(20):
        return [line async for line in lines if line.startswith("event: ")][-1]


async def test_a_stream_ends_with_the_session_the_key_or_the_account(
    api: httpx.AsyncClient, platform: Platform
) -> None:
    await api.post("/auth/register", json=ANN)
    await platform.rows("UPDATE account SET role = 'operator'")
    await api.post("/auth/register", json=BOB)
    await platform.rows("UPDATE account SET role = 'administrator' WHERE email LIKE 'bob@%'")
    (first, refresh_token), (second, _) = await _sign_in(api), await _sign_in(api)
    later = {"name": "system.health_check", "params": {}, "delay_s": 3600}
    task = (await api.post("/tasks", json=later, headers=first)).json()["task_id"]
    key = (
        await api.post("/keys", json={"name": "a robot", "scopes": ["tasks:read"]}, headers=second)
    ).json()["key"]

    async with AsyncExitStack() as stack:
        by_session = await _opened(stack, api, task, first)
        by_key = await _opened(stack, api, task, {"Authorization": f"Bearer {key}"})
        by_account = await _opened(stack, api, task, second)
        await api.post("/auth/logout", json={"refresh_token": refresh_token}, headers=first)
        assert await _last_event(by_session) == "event: error"
        await api.delete("/keys", headers=second)
        assert await _last_event(by_key) == "event: error"
        (bob, _), (ann,) = await _sign_in(api, BOB), await platform.rows("SELECT min(id) AS id FROM account")
        await api.patch(f"/accounts/{ann['id']}", json={"is_active": False}, headers=bob)
        assert await _last_event(by_account) == "event: error"
