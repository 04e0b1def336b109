"""Faults of the drill that concern processes: workers, schedulers and the API are killed or
frozen.
"""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.drill.crew import Crew
from tests.drill.database import PASSING
from tests.drill.fault import fault
from tests.eventually import eventually
from tests.platform import Platform

#: Seconds for which a process is frozen: longer than every lease and every statement's time limit.
#: A worker is frozen for longer than `STALL_AFTER_S`, too.
FREEZE_S = 30.0
WORKER_FREEZE_S = 50.0
CLAIMS = 128

#: SQL that finds sessions of the API and the scheduler that wait for a lock. Its parameter is a
#: pattern for their statement.
WAITING = """
    SELECT 1 FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND query LIKE {} AND application_name IN ('often-api', 'often-scheduler')
"""


@fault("none, for comparison", promised_s=1)
async def nothing(crew: Crew) -> None:
    pass


@fault("kill -9 of every worker in turn", promised_s=15, deaths=True, parts="workers")
async def kill_workers(crew: Crew) -> None:
    for pause_s, worker in enumerate(list(crew.workers)):
        await asyncio.sleep(2 * pause_s)
        worker.kill()


@fault("kill -9 of a worker full of claims", promised_s=15, parts="postgres redis")
async def kill_claimer(crew: Crew) -> str:
    claimer = crew.platform.start("tests.faults.claimer", str(CLAIMS))
    held = "SELECT count(*) AS n FROM task JOIN worker w ON w.id = holder WHERE w.pid = {}"

    async def claims() -> int:
        return sum(row["n"] for row in await _rows(crew.platform, held, claimer.pid))

    held_claims = await eventually(claims, 60)
    claimer.kill()
    return f"{held_claims} of them"


@fault(
    "kill -9 of the API, in its INSERT and between commit and push", promised_s=5, parts="api postgres redis"
)
async def kill_api(crew: Crew) -> None:
    async with _held_up(crew.platform, "LOCK TABLE task IN SHARE MODE", "given AS MATERIALIZED"):
        crew.api.process.kill()
    await eventually(crew.api.is_ready, 60)
    # Redis is frozen, so it receives the push of the ids but never answers. The API is therefore
    # killed after its commit and before its answer.
    before = len(crew.customers.ids)
    with crew.servers.valkey.frozen():
        await eventually(lambda: _stored(crew, before), 30)
        crew.api.process.kill()
    # The fault is over when the API has been restarted, which takes some seconds on a busy machine.
    await eventually(crew.api.is_ready, 60)


@fault(
    f"SIGSTOP of a worker for {WORKER_FREEZE_S:g} s, declared dead after 40",
    promised_s=15,
    deaths=True,
    parts="workers",
)
async def freeze_worker(crew: Crew) -> None:
    await _freeze(crew.workers[0], WORKER_FREEZE_S)


@fault(f"SIGSTOP of the leader, {FREEZE_S:g} s", promised_s=5, parts="schedulers postgres")
async def freeze_leader(crew: Crew) -> None:
    await _freeze(await crew.leader(), FREEZE_S)


@fault("kill -9 of the leader during a firing", promised_s=5, parts="schedulers postgres")
async def kill_leader(crew: Crew) -> None:
    held = "LOCK TABLE schedule_firing IN SHARE MODE"
    async with _held_up(crew.platform, held, "INSERT INTO schedule_firing"):
        (await crew.leader()).kill()


async def _freeze(process: subprocess.Popen[bytes], seconds: float) -> None:
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def _held_up(platform: Platform, lock: str, statement: str) -> AsyncIterator[None]:
    """Block a service in the middle of a statement inside this context, by holding a lock. The lock
    is released afterwards.
    """
    connection = await asyncpg.connect(platform.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(lock)
        # This query uses another connection. Inside the transaction, the view pg_stat_activity
        # would keep returning its first answer.
        await eventually(lambda: _rows(platform, WAITING, f"%{statement}%"), 60)
        yield
        await transaction.rollback()
    finally:
        await connection.close(timeout=5)


async def _stored(crew: Crew, answered: int) -> bool:
    """Whether the API has stored a batch of tasks without having answered the request yet."""
    rows = await _rows(
        crew.platform,
        "SELECT count(*) AS n FROM task WHERE name = 'system.health_check' AND owner IS NOT NULL",
    )
    return any(row["n"] > max(answered, len(crew.customers.ids)) for row in rows)


async def _rows(platform: Platform, sql: str, *values: Any) -> list[dict[str, Any]]:
    """Run a query. Returns no rows while Postgres is unavailable, so that the caller repeats it."""
    try:
        return await platform.rows(sql, *values)
    except PASSING:
        return []


FAULTS = (nothing, kill_workers, kill_claimer, kill_api, freeze_worker, freeze_leader, kill_leader)
