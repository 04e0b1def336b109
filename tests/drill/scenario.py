"""Runs one fault of the drill under load, and measures its effects."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import redis

from tests.drill import client_log, ledger, load, work, worker
from tests.drill.crew import Crew
from tests.drill.database import PASSING, unaffected
from tests.drill.fault import Fault
from tests.drill.network import Network
from tests.drill.recovery import recovered
from tests.drill.report import PATIENCE, Report
from tests.drill.servers import Servers
from tests.eventually import eventually
from tests.platform import Platform

#: Number of tasks that must have ended before the fault begins.
BEGIN_AFTER = 500
#: Additional seconds after which the task that blocks its worker's interpreter, and other tasks of
#: the same worker, count as stuck.
SPIN_STUCK_S = 120.0
#: Seconds after the time limit of recovery for which the system is still watched, to measure a late
#: recovery.
BEYOND_S = 30.0
POLL_S = 0.1


async def play(fault: Fault, servers: Servers, folder: Path) -> Report:
    """Run a fault in a new database with new processes, and measure its effects. Raises Skipped if
    this machine cannot run it.
    """
    began = time.monotonic()
    create = servers.create_on_disk if fault.small_disk else servers.create
    database_url = create(fault.name)
    logs = folder / fault.name
    logs.mkdir()
    with redis.Redis.from_url(servers.redis_url) as client:
        client.flushall()  # wipe Redis, which still belongs to the previous scenario's system
    async with (
        _network(fault, database_url, servers.redis_url, logs) as network,
        Platform(unaffected(network.own_url or database_url), network.redis_url, logs) as platform,
    ):
        # Services use the database's settings, which the fault changes. The drill's own sessions
        # were opened with fixed settings.
        platform.database_url = network.database_url
        await platform.rows("CREATE TABLE effect (task_id uuid)")
        await platform.rows("GRANT INSERT ON effect TO often_worker")
        if fault.prepare is not None:
            await fault.prepare(platform)
        async with Crew(platform, servers, network, logs) as crew:
            await load.tick(platform)
            async with crew.customers, crew.visitor:
                submitting = asyncio.create_task(load.submit(crew, over_s=fault.load_s))
                await eventually(lambda: _ended(platform, BEGIN_AFTER), 120)
                in_flight = await load.open_tasks(platform)
                note, failed = await _inflicted(fault, crew)
                limit_s = PATIENCE * fault.promised_s + BEYOND_S
                mended, fresh = await asyncio.gather(
                    recovered(platform, crew.live, limit_s=limit_s), work.fresh(crew)
                )
                await submitting
            await load.stop_ticking(platform)
            stuck = await _stuck(platform, fault.settle_s)
            idle = await work.idle_workers(crew)
            accepted, returned = client_log.read(crew.log.path), worker.returned(crew.returned)
            count = await ledger.count(platform, accepted, returned)
            leads = await work.standby_leads(crew)
            return Report(
                fault=fault,
                in_flight=in_flight,
                recovery=mended,
                fresh=fresh,
                stuck=stuck,
                count=count,
                ended=crew.ended,
                idle=[*([f"{idle} workers"] if idle else []), *([] if leads else ["standby"])],
                wrong=crew.visitor.wrong + Counter({"5xx to a customer": crew.customers.wrong}),
                failed=failed,
                note=note,
                took_s=time.monotonic() - began,
            )


@asynccontextmanager
async def _network(fault: Fault, database_url: str, redis_url: str, folder: Path) -> AsyncIterator[Network]:
    """The network between the processes and the servers. It is a direct connection, unless the
    fault defines another one.
    """
    if fault.network is None:
        yield Network(database_url=database_url, redis_url=redis_url)
        return
    async with fault.network(database_url, redis_url, folder) as network:
        yield network


async def _inflicted(fault: Fault, crew: Crew) -> tuple[str, str]:
    """Apply the fault. Returns its text for the report, and the message of its own check if that
    failed. Each is empty if there is none.
    """
    try:
        return await fault.inflict(crew) or "", ""
    except AssertionError as error:
        return "", str(error)


async def _stuck(platform: Platform, settle_s: float) -> int:
    """Number of tasks that do not end in time. The task that blocks its worker's interpreter, and
    other tasks of the same worker, get more time.
    """
    stuck = await _left_after(settle_s, lambda: load.open_apart(platform))
    return stuck or await _left_after(SPIN_STUCK_S, lambda: load.open_tasks(platform))


async def _left_after(limit_s: float, count: Callable[[], Awaitable[int]]) -> int:
    """Wait until no task is left or until the time limit. Returns the number of tasks that are
    left.
    """
    ends = time.monotonic() + limit_s
    while True:
        left = await count()
        if not left or time.monotonic() > ends:
            return left
        await asyncio.sleep(POLL_S)


async def _ended(platform: Platform, number: int) -> bool:
    try:
        (row,) = await platform.rows(
            "SELECT count(*) AS n FROM task WHERE status = 'success' AND created_at > now() - interval '1 d'"
        )
    except PASSING:
        return False
    return bool(row["n"] >= number)
