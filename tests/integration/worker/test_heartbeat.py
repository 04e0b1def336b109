"""Tests of a worker's heartbeat when the connection of its advisory lock is half open: one side
does not know that the other has gone.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import asyncpg
import pytest

from services.worker.claims.heartbeat import Heartbeat
from shared.ledger.database import Database
from tests.eventually import eventually
from tests.half_open import HalfOpen
from tests.platform import Platform

SESSIONS = "SELECT pid FROM pg_stat_activity WHERE application_name = 'often-worker-lock' AND datname = {}"
HELD = "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND pid = ANY({}::integer[])"


@dataclass(frozen=True)
class Locked:
    """The heartbeat of a registered worker.

    The connection of its advisory lock leads through a proxy, which can make the connection half
    open.
    """

    heartbeat: Heartbeat
    proxy: HalfOpen
    platform: Platform

    async def sessions(self) -> set[int]:
        name = self.platform.database_url.rpartition("/")[2]
        return {row["pid"] for row in await self.platform.rows(SESSIONS, name)}

    async def holders(self) -> set[int]:
        """Process ids of the Postgres sessions that hold the worker's advisory lock."""
        return {row["pid"] for row in await self.platform.rows(HELD, list(await self.sessions()))}


@pytest.fixture
async def locked(platform: Platform) -> AsyncIterator[Locked]:
    async with _registered(platform) as made:
        yield made


@asynccontextmanager
async def _registered(platform: Platform) -> AsyncIterator[Locked]:
    proxy = HalfOpen(platform.database_url, b"application_name\0often-worker-lock")
    async with proxy.serving() as url:
        database = Database.for_recorder(url, "worker")
        await database.open(size=2)
        try:
            heartbeat = Heartbeat(
                uuid4(), database, ["default"], 8, declared_dead=lambda: None, told=lambda paused, asked: None
            )
            await heartbeat.register()
            yield Locked(heartbeat, proxy, platform)
        finally:
            await database.close()


async def test_a_lock_freed_by_postgres_unnoticed_is_taken_again(locked: Locked) -> None:
    (lost,) = await locked.sessions()
    locked.proxy.swallow()
    await locked.platform.rows("SELECT pg_terminate_backend({})", lost)

    async def is_free() -> bool:
        return not await locked.holders()

    await eventually(is_free)
    await locked.heartbeat.hold_lock()

    (holder,) = await locked.holders()
    assert holder != lost


async def test_a_dead_session_that_postgres_considers_alive_does_not_keep_the_lock(
    locked: Locked,
) -> None:
    (ghost,) = await locked.sessions()
    locked.proxy.swallow()
    locked.proxy.lose_client_ends()

    async def holds_another() -> bool:
        await locked.heartbeat.hold_lock()
        return len(await locked.holders()) == 2

    await eventually(holds_another)
    for _ in range(3):
        await locked.heartbeat.hold_lock()
    assert len(await locked.sessions()) == 2
    await locked.platform.rows("SELECT pg_terminate_backend({})", ghost)

    async def holds_alone() -> bool:
        await locked.heartbeat.hold_lock()
        return len(await locked.holders()) == 1

    await eventually(holds_alone)


async def test_a_held_lock_is_not_taken_again(locked: Locked) -> None:
    before = await locked.sessions()
    for _ in range(3):
        await locked.heartbeat.hold_lock()
    assert await locked.sessions() == await locked.holders() == before


async def test_a_worker_reads_the_pauses_before_its_first_fetch(platform: Platform) -> None:
    await platform.rows(
        "INSERT INTO queue_control (queue, paused_at) VALUES ('email', now()), ('hotel', NULL)"
    )
    told: list[tuple[Collection[str], str | None]] = []
    heartbeat = Heartbeat(
        uuid4(),
        platform.database,
        ["default"],
        8,
        declared_dead=lambda: None,
        told=lambda paused, asked: told.append((paused, asked)),
    )
    await heartbeat.register()
    assert told == [(["email"], None)]
    assert heartbeat._lock is not None
    heartbeat._lock.terminate()


async def test_a_beat_that_began_before_the_drain_leaves_the_new_state(platform: Platform) -> None:
    worker = uuid4()
    heartbeat = Heartbeat(
        worker,
        platform.database,
        ["default"],
        8,
        declared_dead=lambda: None,
        told=lambda paused, asked: None,
    )
    await heartbeat.register()
    other = await asyncpg.connect(platform.database_url)

    async def waits() -> bool:
        blocked = "SELECT 1 FROM pg_stat_activity WHERE {} = ANY(pg_blocking_pids(pid))"
        return bool(await platform.rows(blocked, other.get_server_pid()))

    async with other.transaction():
        await other.execute("SELECT FROM worker WHERE id = $1 FOR UPDATE", worker)
        beating = asyncio.create_task(heartbeat.beat())
        await eventually(waits)
        heartbeat.drain()
    await beating
    await other.close()
    (row,) = await platform.rows("SELECT state FROM worker WHERE id = {}", worker)
    assert row["state"] == "draining"
    assert heartbeat._lock is not None
    heartbeat._lock.terminate()
