"""Tests how many requests are admitted when each process counts on its own and synchronizes with
Redis only now and then.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

import pytest

from services.api.http.refusals import TooManyRequests
from services.api.identity.counting import CountingRedis
from services.api.identity.rate_limits import SHARE, RateLimits

PROCESSES = 3
USER = 7

Make = Callable[[str], RateLimits]


@pytest.fixture
async def process(redis_url: str) -> AsyncIterator[Make]:
    """A function that creates the rate limits of a further API process."""
    pools = []

    def make(limit: str) -> RateLimits:
        pools.append(CountingRedis(redis_url))
        return RateLimits(pools[-1], user=limit, address=limit, sign_in=limit)

    yield make
    for pool in pools:
        await pool.close()


async def _passes(limits: RateLimits) -> bool:
    try:
        await limits.count_user(USER)
    except TooManyRequests:
        return False
    return True


@pytest.mark.parametrize("settling", [0.0, 0.05])
async def test_each_process_admits_at_most_a_hundredth_more(process: Make, settling: float) -> None:
    limit = 500
    processes = [process(f"{limit}/hour") for _ in range(PROCESSES)]
    chance = random.Random(1)
    passed = 0
    for _ in range(3 * limit):
        one = chance.choice(processes)
        passed += await _passes(one)
        if chance.random() < settling:
            await one.settle()
    assert limit <= passed <= limit + PROCESSES * (limit // SHARE)
    await asyncio.gather(*(one.settle() for one in processes))
    assert [await _passes(one) for one in processes] == [False] * PROCESSES


async def test_concurrent_requests_keep_the_same_bound(process: Make) -> None:
    processes = [process("200/hour") for _ in range(PROCESSES)]
    passed = await asyncio.gather(*(_passes(one) for _ in range(150) for one in processes))
    assert 200 <= sum(passed) <= 200 + PROCESSES * 2


async def test_a_small_limit_is_exact(process: Make) -> None:
    processes = [process("99/hour") for _ in range(PROCESSES)]
    passed = [await _passes(one) for _ in range(50) for one in processes]
    assert passed == [True] * 99 + [False] * 51


async def test_an_idle_process_learns_what_others_admitted(process: Make) -> None:
    idle, busy = process("300/hour"), process("300/hour")
    assert await _passes(idle)
    await idle.settle()
    while await _passes(busy):
        pass
    assert [await _passes(idle) for _ in range(6)] == [True] * 3 + [False] * 3


async def test_callers_beyond_the_bound_are_counted_in_redis_at_once(
    process: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.api.identity.rate_limits.MAX_COUNTED", 0)
    processes = [process("200/hour") for _ in range(PROCESSES)]
    assert sum([await _passes(one) for _ in range(100) for one in processes]) == 200
