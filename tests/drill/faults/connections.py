"""Faults of the drill that end connections: all of them at once, or on one side only."""

import asyncio
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from shared.transport.queues import connect
from tests.drill.crew import Crew
from tests.drill.fault import fault
from tests.drill.network import Network
from tests.half_open import HalfOpen

PROMISED_S = 5.0
#: Seconds within which a worker must take its lost advisory lock again. Two heartbeats would be
#: enough, but a busy machine needs longer.
NOTICE_S = 8.0
#: Seconds for which workers are frozen, or get no answers. It is longer than a worker may go
#: without lock and heartbeat (5 s), and shorter than any other limit.
SILENT_S = 12.0
CUTS, CUT_EVERY_S = 5, 2.0
LOCK = "often-worker-lock"
LOCK_SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND datname = $2"


@dataclass(frozen=True, kw_only=True)
class ThroughProxy(Network):
    """A network in which the workers reach Postgres through a proxy. The proxy recognizes the
    connections that hold their advisory locks.
    """

    proxy: HalfOpen


@asynccontextmanager
async def through_proxy(database_url: str, redis_url: str, _: Path) -> AsyncIterator[ThroughProxy]:
    proxy = HalfOpen(database_url, b"application_name\0" + LOCK.encode())
    async with proxy.serving() as url:
        yield ThroughProxy(database_url=url, redis_url=redis_url, proxy=proxy)


@fault(
    f"Postgres frees the workers' locks and they see no end, then {SILENT_S:g} s of silence; "
    "the workers' ends are gone and Postgres sees none",
    promised_s=PROMISED_S,
    network=through_proxy,
)
async def half_open_lock(crew: Crew) -> str:
    network = crew.network
    assert isinstance(network, ThroughProxy)
    before = set(crew.live())
    network.proxy.swallow()
    async with crew.database.connected() as connection:
        for pid in await _lock_sessions(crew, connection):
            await connection.fetch("SELECT pg_terminate_backend($1)", pid)
        await asyncio.sleep(NOTICE_S)
        await _silence(crew.workers)
        network.proxy.swallow()
        network.proxy.lose_client_ends()
        await asyncio.sleep(SILENT_S)
        sessions = len(await _lock_sessions(crew, connection))
    assert set(crew.live()) == before, "a worker was replaced"
    assert sessions <= 2 * len(before), f"{sessions} sessions for {len(before)} locks"
    return f"{sessions} sessions for {len(before)} locks"


async def _silence(workers: list[subprocess.Popen[bytes]]) -> None:
    """Freeze the workers for longer than a process without its advisory lock may go without a
    heartbeat.
    """
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    await asyncio.sleep(SILENT_S)
    for worker in workers:
        worker.send_signal(signal.SIGCONT)


async def _lock_sessions(crew: Crew, connection: asyncpg.Connection) -> list[int]:
    return [row["pid"] for row in await connection.fetch(LOCK_SESSIONS, LOCK, crew.database.name)]


@fault(f"every session of Postgres ended, {CUTS} times", promised_s=PROMISED_S, parts="postgres")
async def cut_sessions(crew: Crew) -> None:
    for _ in range(CUTS):
        await crew.database.cut()
        await asyncio.sleep(CUT_EVERY_S)


@fault(f"every connection to Redis closed, {CUTS} times", promised_s=PROMISED_S, parts="redis")
async def cut_redis_connections(crew: Crew) -> None:
    async with connect(crew.platform.redis_url) as client:
        for _ in range(CUTS):
            for kind in ("normal", "pubsub"):
                await client.client_kill_filter(_type=kind, skipme=True)
            await asyncio.sleep(CUT_EVERY_S)


FAULTS = (half_open_lock, cut_sessions, cut_redis_connections)
