"""Tests that every API process enforces a user's loss of rights within a second, even if the
message about it is lost.
"""

import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import redis.asyncio as redis

from local.ports import pick
from services.api.identity import remembered
from shared.settings import Settings
from tests.api_process import Api
from tests.eventually import eventually
from tests.integration.api.conftest import Client, Person
from tests.integration.api.serving import serving
from tests.platform import Platform

LIMIT_S = 1.0

Act = Callable[[], Awaitable[Any]]


class Somebody:
    """A person who is signed in, and whom every API process has cached."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self.headers: dict[str, str] = {}
        self.id = 0

    async def sign_up(self, platform: Platform, role: str) -> None:
        person = {"email": f"{secrets.token_hex(8)}@often.example", "password": secrets.token_hex(8)}
        self.id = (await self._http.post("/auth/register", json=person)).raise_for_status().json()["id"]
        await platform.rows("UPDATE account SET role = {} WHERE id = {}", role, self.id)
        tokens = (await self._http.post("/auth/login", json=person)).raise_for_status().json()
        self.headers = {"Authorization": f"Bearer {tokens['access_token']}"}

    async def does(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self._http.request(method, path, json=body, headers=self.headers)
        return answer.raise_for_status().json() if answer.content else None


async def test_an_act_in_one_process_takes_effect_in_all_within_a_second(platform: Platform) -> None:
    first, second, without_redis = (Api(platform) for _ in range(3))
    secret = secrets.token_hex(32)
    await first.start(SECRET_KEY=secret)
    await second.start(SECRET_KEY=secret)
    await without_redis.start(SECRET_KEY=secret, REDIS_URL=f"redis://127.0.0.1:{pick('redis')['redis']}/0")
    async with httpx.AsyncClient(trust_env=False, base_url=f"{first.url}/api/v1", timeout=30) as http:
        administrator = Somebody(http)
        await administrator.sign_up(platform, "administrator")

        async def gone(role: str, prepare: Callable[[Somebody], Awaitable[Act]], status: int) -> None:
            victim = Somebody(http)
            await victim.sign_up(platform, role)
            await _acts_in_time([second, without_redis], victim, await prepare(victim), status)

        def change(body: Any) -> Callable[[Somebody], Awaitable[Act]]:
            async def prepare(victim: Somebody) -> Act:
                return lambda: administrator.does("PATCH", f"/accounts/{victim.id}", body)

            return prepare

        async def sign_out(victim: Somebody) -> Act:
            return lambda: victim.does("POST", "/auth/logout-all")

        async def revoke(victim: Somebody) -> Act:
            owner = dict(victim.headers)
            made = await victim.does("POST", "/keys", {"name": "a robot", "scopes": ["operations:read"]})
            victim.headers = {"Authorization": f"Bearer {made['key']}"}
            return lambda: http.delete(f"/keys/{made['id']}", headers=owner)

        async def end_silently(victim: Somebody) -> Act:
            """End the session by SQL, so that no message reports its end to the API processes."""
            return lambda: platform.rows('UPDATE session SET revoked_at = now() WHERE "user" = {}', victim.id)

        await gone("operator", change({"is_active": False}), 401)
        await gone("operator", change({"role": "user"}), 403)
        await gone("operator", sign_out, 401)
        await gone("operator", revoke, 401)
        await gone("operator", end_silently, 401)


async def _acts_in_time(apis: list[Api], victim: Somebody, act: Act, status: int) -> None:
    """Take the person's rights away, and check that no request sent more than a second later is
    admitted.
    """
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def asked(api: Api) -> int:
            return (await http.get(f"{api.url}/api/v1/audit", headers=victim.headers)).status_code

        assert [await asked(api) for api in apis] == [200] * len(apis)
        await act()
        acted_at = time.monotonic()
        for api in apis:
            sent_at = time.monotonic()
            while (answered := await asked(api)) == 200:
                assert sent_at - acted_at < LIMIT_S
                sent_at = time.monotonic()
            assert answered == status


@pytest.mark.parametrize("act", ["session", "key"])
async def test_a_message_clears_the_memory_of_another_process(
    client: Client,
    guest: Person,
    settings: Settings,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    act: str,
) -> None:
    monkeypatch.setattr(remembered, "MAX_AGE_S", 3600.0)
    made = (await guest.post("keys", {"name": "a robot", "scopes": ["accounts:read"]})).json()
    shown = {"session": guest.headers, "key": {"Authorization": f"Bearer {made['key']}"}}[act]
    async with serving(settings)() as other:

        async def is_out() -> bool:
            return (await other.get("/api/v1/auth/me", headers=shown)).status_code == 401

        assert not await is_out()
        await eventually(lambda: _is_heard(redis_url))
        if act == "session":
            await guest.post("auth/logout-all", None)
        else:
            await guest.delete(f"keys/{made['id']}")
        assert (await client.get("/api/v1/auth/me", headers=shown)).status_code == 401
        await eventually(is_out, 5)


async def _is_heard(redis_url: str) -> bool:
    """Whether both API processes have subscribed to messages about lost rights."""
    async with redis.Redis.from_url(redis_url) as server:
        channels = await server.pubsub_channels("often:callers:*")
        counts = await server.pubsub_numsub(*channels)
        return any(listeners == 2 for _, listeners in counts)
