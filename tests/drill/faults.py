"""What breaks. Each fault returns when it is over; recovery is measured from then."""

import asyncio
import random
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import psutil

from services.scheduler.partitioner import Partitioner
from shared.contracts.maintenance import CLEANUP_OLD_TASKS, CleanupOldTasks
from shared.errors import ServerAway
from shared.transport.queues import connect
from tests.drill import calendar
from tests.drill.crew import Crew
from tests.drill.proxy import ASKS, Proxy
from tests.eventually import eventually
from tests.platform import Platform

#: Longer than every lease and time-out of a statement; the worker's also than the drill's `stall_after`.
FREEZE_S = 30.0
WORKER_FREEZE_S = 50.0
DROPPING_S = 20.0
AWAY_S = 60.0
#: Of a worker while Postgres is away; without a bound it would grow by hundreds.
GROWTH_LIMIT_MB = 64
RANDOM_S = 180.0
CLAIMS = 128


#: values: part of a statement's beginning.
WAITING = """
    SELECT 1 FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE {} AND application_name IN ('often-api', 'often-scheduler')
"""


@dataclass(frozen=True)
class Fault:
    """One thing that breaks, as the report calls it, and within how many seconds the design mends it."""

    name: str
    title: str
    promised_s: float
    #: May say more for the report.
    inflict: Callable[[Crew], Awaitable[str | None]]
    #: What has to stand before the processes start.
    prepare: Callable[[Platform], Awaitable[None]] | None = None
    #: Over how long the load is spread.
    load_s: float = 0.0


FAULTS: dict[str, Fault] = {}


def fault(
    title: str,
    *,
    promised_s: float,
    prepare: Callable[[Platform], Awaitable[None]] | None = None,
    load_s: float = 0.0,
) -> Callable[[Callable[[Crew], Awaitable[str | None]]], Callable[[Crew], Awaitable[str | None]]]:
    """Put a function into `FAULTS`."""

    def add(inflict: Callable[[Crew], Awaitable[str | None]]) -> Callable[[Crew], Awaitable[str | None]]:
        name = inflict.__name__
        FAULTS[name] = Fault(name, title, promised_s, inflict, prepare, load_s)
        return inflict

    return add


@fault("none, for comparison", promised_s=1)
async def nothing(crew: Crew) -> None:
    pass


@fault("kill -9 of every worker in turn", promised_s=15)
async def kill_workers(crew: Crew) -> None:
    for pause_s, worker in enumerate(list(crew.workers)):
        await asyncio.sleep(2 * pause_s)
        worker.kill()


@fault("kill -9 of a worker full of claims", promised_s=15)
async def kill_claimer(crew: Crew) -> str:
    claimer = crew.platform.start("tests.faults.claimer", str(CLAIMS))
    held = "SELECT count(*) AS n FROM task JOIN worker w ON w.id = holder WHERE w.pid = {}"

    async def claims() -> int:
        return sum(row["n"] for row in await _rows(crew.platform, held, claimer.pid))

    held_claims = await eventually(claims, 60)
    claimer.kill()
    return f"{held_claims} of them"


@fault("kill -9 of the API, in its INSERT and between commit and push", promised_s=5)
async def kill_api(crew: Crew) -> None:
    async with _held_up(crew.platform, "LOCK TABLE task IN SHARE MODE", "given AS MATERIALIZED"):
        crew.api.process.kill()
    await eventually(crew.api.is_ready, 60)
    # Frozen, Redis takes the push and never answers; the row is committed by then.
    before = len(crew.customers.ids)
    with crew.servers.valkey.frozen():
        await eventually(lambda: _stored(crew, before), 30)
        crew.api.process.kill()


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


@fault("replies to fetch, claim and finish lost", promised_s=15)
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


@fault(f"SIGSTOP of Postgres, {FREEZE_S:g} s", promised_s=5)
async def freeze_postgres(crew: Crew) -> None:
    with crew.servers.postgres.frozen():
        await asyncio.sleep(FREEZE_S)


@fault("kill -9 of Postgres, which recovers", promised_s=5)
async def kill_postgres(crew: Crew) -> None:
    crew.servers.postgres.kill()
    await crew.servers.postgres.start()


@fault(f"Postgres away, {AWAY_S:g} s", promised_s=5)
async def leave_without_postgres(crew: Crew) -> str:
    workers = [psutil.Process(pid) for pid in crew.live()]
    before = [worker.memory_info().rss for worker in workers]
    refused = crew.customers.refused
    crew.servers.postgres.kill()
    await asyncio.sleep(AWAY_S)
    grown = max(worker.memory_info().rss - rss for worker, rss in zip(workers, before, strict=True)) / 2**20
    refused = crew.customers.refused - refused
    await crew.servers.postgres.start()
    assert refused, "the API did not answer 503"
    assert grown < GROWTH_LIMIT_MB, f"a worker grew by {grown:.0f} MB"
    return f"{refused} answers 503, a worker grew by {max(grown, 0):.1f} MB"


@fault(f"SIGSTOP of a worker for {WORKER_FREEZE_S:g} s, declared dead after 40", promised_s=15)
async def freeze_worker(crew: Crew) -> None:
    await _freeze(crew.workers[0], WORKER_FREEZE_S)


@fault(f"SIGSTOP of the leader, {FREEZE_S:g} s", promised_s=5)
async def freeze_leader(crew: Crew) -> None:
    await _freeze(await crew.leader(), FREEZE_S)


@fault("kill -9 of the leader during a firing", promised_s=5)
async def kill_leader(crew: Crew) -> None:
    held = "LOCK TABLE schedule_firing IN SHARE MODE"
    async with _held_up(crew.platform, held, "INSERT INTO schedule_firing"):
        (await crew.leader()).kill()


@fault(
    "a new day begins, one is made, an old one dropped",
    promised_s=5,
    prepare=calendar.shift,
    load_s=2 * calendar.AHEAD.total_seconds(),
)
async def roll_over(crew: Crew) -> str:
    platform = crew.platform
    last = await calendar.drop_last_day(platform)
    (cleanup,) = await platform.submit(CLEANUP_OLD_TASKS, CleanupOldTasks())
    await Partitioner().run_once()
    assert last in await calendar.days(platform), "the day was not made again"
    row = await platform.until(cleanup, "success", timeout_s=60)
    assert f'"tasks_deleted": {calendar.OLD_TASKS}' in row["result"], row["result"]

    async def passed() -> bool:
        return min(await calendar.sides(platform)) > 500

    await eventually(passed, 120)
    before, after = await calendar.sides(platform)
    return f"{before} tasks before midnight, {after} after"


@fault(f"all of them at random, {RANDOM_S:g} s", promised_s=60, load_s=RANDOM_S)
async def anything(crew: Crew) -> str:
    loop = asyncio.get_running_loop()
    ends = loop.time() + RANDOM_S
    left_out = (nothing, drop_replies, roll_over, anything)
    choice = [fault.inflict for fault in FAULTS.values() if fault.inflict not in left_out]
    times = 0
    while loop.time() < ends:
        await random.choice(choice)(crew)
        times += 1
        await asyncio.sleep(random.uniform(0, 3))
    return f"{times} faults"


async def _freeze(process: subprocess.Popen[bytes], seconds: float) -> None:
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _held_up(platform: Platform, lock: str, statement: str) -> AsyncIterator[None]:
    """Inside, somebody waits in the middle of this statement; afterwards it goes on."""
    connection = await asyncpg.connect(platform.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(lock)
        # Not over this connection: inside a transaction the view stays as it was first seen.
        await eventually(lambda: _rows(platform, WAITING, f"%{statement}%"), 60)
        yield
        await transaction.rollback()
    finally:
        await connection.close(timeout=5)


async def _stored(crew: Crew, answered: int) -> bool:
    """The API has stored a batch of the customers that it did not answer yet."""
    rows = await _rows(
        crew.platform,
        "SELECT count(*) AS n FROM task WHERE name = 'system.health_check' AND owner IS NOT NULL",
    )
    return any(row["n"] > max(answered, len(crew.customers.ids)) for row in rows)


async def _rows(platform: Platform, sql: str, *values: Any) -> list[dict[str, Any]]:
    """None while Postgres is away: who asks will ask again."""
    try:
        return await platform.rows(sql, *values)
    except ServerAway:
        return []
