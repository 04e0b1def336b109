"""Faults of processes: workers, schedulers and the API are killed or frozen."""

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

#: Longer than every lease and time-out of a statement; the worker's is also longer than `STALL_AFTER_S`.
FREEZE_S = 30.0
WORKER_FREEZE_S = 50.0
CLAIMS = 128

#: values: part of a statement's beginning.
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
    # Frozen, Redis takes the push and never answers; the row is committed by then.
    before = len(crew.customers.ids)
    with crew.servers.valkey.frozen():
        await eventually(lambda: _stored(crew, before), 30)
        crew.api.process.kill()
    # The fault ends with the start of the next API, which takes some seconds on a busy machine.
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
    """Within the block a service waits in the middle of this statement; afterwards it continues."""
    connection = await asyncpg.connect(platform.database_url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(lock)
        # Ask over another connection: inside a transaction the view keeps what it showed first.
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
    except PASSING:
        return []


FAULTS = (nothing, kill_workers, kill_claimer, kill_api, freeze_worker, freeze_leader, kill_leader)
