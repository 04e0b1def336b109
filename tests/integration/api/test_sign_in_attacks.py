"""Tests of attacks on signing in, over real sockets: many simultaneous guesses, and a flood that
should lock others out.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from services.api.identity.lockout import NARROW
from tests.api_process import Api
from tests.platform import Platform

ANN = {"email": "ann@often.example", "password": "correct horse"}
OWNER, STRANGERS = "127.0.0.1", [f"127.0.0.{number}" for number in range(2, 5)]
LOGIN = "/api/v1/auth/login"


@pytest.fixture
async def api(platform: Platform) -> Api:
    started = Api(platform)
    await started.start()
    return started


@pytest.fixture
async def clients(api: Api) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """HTTP clients by network. Each sends its requests from an address in that network."""
    async with AsyncExitStack() as stack:
        yield {
            network: await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.AsyncHTTPTransport(local_address=network), base_url=api.url, timeout=60
                )
            )
            for network in [OWNER, *STRANGERS]
        }


async def _login(client: httpx.AsyncClient, password: str, email: str = ANN["email"]) -> httpx.Response:
    return await client.post(LOGIN, json={"email": email, "password": password})


def _kinds(answers: Iterable[httpx.Response]) -> Counter[Any]:
    return Counter("in" if answer.is_success else answer.json()["type"].split(":")[-1] for answer in answers)


@pytest.mark.parametrize("count", [20, 60])
async def test_of_many_simultaneous_guesses_five_are_checked(
    clients: dict[str, httpx.AsyncClient], count: int
) -> None:
    """Only five guesses are checked.

    The right password is accepted if it is one of them, and otherwise refused like all others.
    """
    stranger = clients[STRANGERS[0]]
    assert (await stranger.post("/api/v1/auth/register", json=ANN)).status_code == 201
    guesses = [f"wrong horse {number}" for number in range(count - 1)]
    guesses.insert(random.randrange(count), ANN["password"])
    answers = await asyncio.gather(*(_login(stranger, guess) for guess in guesses))
    kinds = _kinds(answers)
    # Accepting the right password resets the count of wrong ones, so twice as many may be checked.
    most = NARROW.attempts if not kinds["in"] else 2 * NARROW.attempts
    assert kinds["not-signed-in"] + kinds["in"] <= most
    # The registration and 60 guesses are one request more than an address may send in a minute.
    assert kinds.keys() <= {"in", "not-signed-in", "login-locked", "too-many-sign-ins", "too-many-requests"}


async def test_after_the_lock_right_and_wrong_passwords_get_one_answer(
    clients: dict[str, httpx.AsyncClient],
) -> None:
    stranger = clients[STRANGERS[0]]
    await stranger.post("/api/v1/auth/register", json=ANN)
    for _ in range(NARROW.attempts):
        await _login(stranger, "wrong horse")
    for guess in ("wrong horse", ANN["password"]):
        assert _kinds([await _login(stranger, guess)]) == {"login-locked": 1}


async def test_during_a_flood_others_sign_in_and_are_served(clients: dict[str, httpx.AsyncClient]) -> None:
    owner = clients[OWNER]
    await owner.post("/api/v1/auth/register", json=ANN)
    token = (await _login(owner, ANN["password"])).json()["access_token"]
    flood = asyncio.gather(
        *(
            _login(clients[STRANGERS[number % 2]], "wrong horse", f"user-{number}@often.example")
            for number in range(150)
        )
    )
    await asyncio.sleep(0)
    began = time.monotonic()
    me = await owner.get("/api/v1/auth/me", headers={"Authorization": f"Bearer {token}"})
    me_s = time.monotonic() - began
    signed_in = await _login(owner, ANN["password"])
    login_s = time.monotonic() - began
    kinds = _kinds(await flood)
    assert (me.status_code, signed_in.status_code) == (200, 200)
    assert me_s < 2
    assert login_s < 6  # on two idle cores, the sign-in takes 2 s
    assert kinds["too-many-sign-ins"] + kinds["sign-in-busy"] + kinds["too-many-requests"] > 100
