"""Faults of Redis: it is wiped, killed, robbed of its files or frozen, and its replies are lost."""

import asyncio

from shared.transport.queues import connect
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.proxy import ASKS, Proxy

FREEZE_S = 30.0
DROPPING_S = 20.0


@fault("FLUSHALL", promised_s=5)
async def wipe_redis(crew: Crew) -> None:
    # A connection of its own: others may have been lost to an earlier fault.
    async with connect(crew.platform.redis_url) as client:
        await client.flushall()


@fault("kill -9 of Valkey, the last KB of its log lost", promised_s=60)
async def cut_redis(crew: Crew) -> None:
    crew.servers.valkey.kill()
    crew.servers.cut_log(1_024)
    await crew.servers.valkey.start()


@fault("kill -9 of Valkey, its files gone", promised_s=5)
async def lose_redis(crew: Crew) -> None:
    crew.servers.valkey.kill()
    crew.servers.lose_files()
    await crew.servers.valkey.start()


@fault(f"SIGSTOP of Valkey, {FREEZE_S:g} s", promised_s=5)
async def freeze_redis(crew: Crew) -> None:
    with crew.servers.valkey.frozen():
        await asyncio.sleep(FREEZE_S)


@fault("replies to fetch, claim and finish lost", promised_s=15, deaths=True)
async def drop_replies(crew: Crew) -> str:
    postgres, redis = Proxy(crew.platform.database_url), Proxy(crew.platform.redis_url)
    database_url = await crew.closing.enter_async_context(postgres.serving())
    redis_url = await crew.closing.enter_async_context(redis.serving())
    await crew.lead_workers_through(database_url=database_url, redis_url=redis_url)
    postgres.loses = redis.loses = 0.1
    await asyncio.sleep(DROPPING_S)
    postgres.loses = redis.loses = 0.0
    lost = postgres.lost + redis.lost
    assert all(lost[ask] for ask in ASKS), f"not every kind of reply was lost: {lost}"
    return ", ".join(f"{lost[ask]} {ask}" for ask in ASKS)


FAULTS = (wipe_redis, cut_redis, lose_redis, freeze_redis, drop_replies)
