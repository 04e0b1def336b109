"""Faults of the drill that concern Redis: it is wiped, killed or frozen, loses files or answers, is
used by another system, or contains garbage.
"""

import asyncio
import secrets
import subprocess
from uuid import UUID

import redis

from shared.transport.keys import SYSTEM_KEY
from shared.transport.queues import connect
from tests import garbage
from tests.drill.crew import Crew
from tests.drill.database import PASSING
from tests.drill.fault import fault
from tests.drill.proxy import ASKS, Proxy
from tests.eventually import eventually
from tests.platform import Platform

FREEZE_S = 30.0
DROPPING_S = 20.0
GARBAGE_ROUNDS, GARBAGE_EVERY_S = 4, 2.0
#: How often the processes of another system are started on this Redis. A process manager would
#: restart them, too.
STRANGER_STARTS = 3
STRANGERS = ("tests.sample_worker", "services.scheduler")
#: Exit status of a process that refuses an invalid setting.
REFUSED = 2


@fault("FLUSHALL", promised_s=5, parts="redis")
async def wipe_redis(crew: Crew) -> None:
    # A new connection is used, because existing ones may have been broken by an earlier fault.
    async with connect(crew.platform.redis_url) as client:
        await client.flushall()


@fault("kill -9 of Valkey, the last KB of its log lost", promised_s=60, parts="redis")
async def cut_redis(crew: Crew) -> None:
    crew.servers.valkey.kill()
    crew.servers.cut_log(1_024)
    await crew.servers.valkey.start()


@fault("kill -9 of Valkey, its files gone", promised_s=5, parts="redis")
async def lose_redis(crew: Crew) -> None:
    crew.servers.valkey.kill()
    crew.servers.lose_files()
    await crew.servers.valkey.start()


@fault(f"SIGSTOP of Valkey, {FREEZE_S:g} s", promised_s=5, parts="redis")
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


@fault(f"garbage in every key and channel of Redis, {GARBAGE_ROUNDS} times", promised_s=60, parts="redis")
async def redis_garbage(crew: Crew) -> str:
    overwritten = 0
    for _ in range(GARBAGE_ROUNDS):
        workers, running = await _workers_and_running(crew.platform)
        overwritten += await asyncio.to_thread(_spoil, crew.platform, workers, running)
        await asyncio.sleep(GARBAGE_EVERY_S)
    return f"{overwritten} values replaced"


async def _workers_and_running(platform: Platform) -> tuple[list[UUID], list[UUID]]:
    try:
        workers = await platform.rows("SELECT id FROM worker WHERE dead_at IS NULL AND stopped_at IS NULL")
        running = await platform.rows("SELECT id FROM task WHERE holder IS NOT NULL LIMIT 50")
    except PASSING:
        return [], []
    return [row["id"] for row in workers], [row["id"] for row in running]


def _spoil(platform: Platform, workers: list[UUID], running: list[UUID]) -> int:
    with redis.Redis.from_url(platform.redis_url) as client:
        for worker in workers:
            for queue in ("default", "maintenance"):
                garbage.soil(client, worker, queue)
            garbage.enlarge(client, worker, "default")
        garbage.forge(client, ("often:cancel", platform.queues.cancel_channel), running)
        return garbage.overwrite_all(client)


@fault(
    "worker and scheduler of another system join this Redis", promised_s=5, parts="strangers redis postgres"
)
async def strangers(crew: Crew) -> str:
    url = await asyncio.to_thread(crew.servers.create, f"stranger_{secrets.token_hex(4)}")
    platform = crew.platform
    owner = await platform.queues.client.get(SYSTEM_KEY)
    started = [p for _ in range(STRANGER_STARTS) for p in await _ended_strangers(platform, url)]
    codes = [process.returncode for process in started]
    assert codes == [REFUSED] * len(started), f"the processes of the other system ended with {codes}"
    reason = f"this database belongs to system {platform.queues.system.hex}" if platform.queues.system else ""
    assert all(reason in platform.log_of(process) for process in started), (
        "the processes of the other system did not log the reason"
    )
    assert await platform.queues.client.get(SYSTEM_KEY) == owner, "Redis has another owner"
    return f"{len(started)} starts refused"


async def _ended_strangers(platform: Platform, database_url: str) -> list[subprocess.Popen[bytes]]:
    joining = [platform.start(program, DATABASE_URL=database_url) for program in STRANGERS]
    await eventually(lambda: all(process.poll() is not None for process in joining), 60)
    return joining


FAULTS = (wipe_redis, cut_redis, lose_redis, freeze_redis, drop_replies, redis_garbage, strangers)
