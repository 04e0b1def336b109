"""The advisory lock of a worker whose connection is half open: only one end knows that the other is gone."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

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
    """A registered heartbeat whose lock is on a connection through a proxy."""

    heartbeat: Heartbeat
    proxy: HalfOpen
    platform: Platform

    async def sessions(self) -> set[int]:
        name = self.platform.database_url.rpartition("/")[2]
        return {row["pid"] for row in await self.platform.rows(SESSIONS, name)}

    async def holders(self) -> set[int]:
        """The sessions that hold the lock."""
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


async def test_a_lock_that_postgres_freed_without_the_worker_noticing_is_taken_again(locked: Locked) -> None:
    (lost,) = await locked.sessions()
    locked.proxy.swallow()
    await locked.platform.rows("SELECT pg_terminate_backend({})", lost)

    async def is_free() -> bool:
        return not await locked.holders()

    await eventually(is_free)
    await locked.heartbeat.hold_lock()

    (holder,) = await locked.holders()
    assert holder != lost


async def test_a_session_that_postgres_takes_for_alive_does_not_keep_the_worker_from_its_lock(
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


async def test_a_lock_that_is_held_is_left_alone(locked: Locked) -> None:
    before = await locked.sessions()
    for _ in range(3):
        await locked.heartbeat.hold_lock()
    assert await locked.sessions() == await locked.holders() == before


async def test_a_worker_knows_the_pauses_before_its_first_fetch(platform: Platform) -> None:
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
