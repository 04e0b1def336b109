"""Tests of how the leader remembers which workers that ended no longer hold tasks."""

import asyncio
from uuid import UUID, uuid4

import pytest

from services.scheduler import former_workers, rescuer
from services.scheduler.former_workers import FormerWorkers
from services.scheduler.rescuer import Rescuer
from shared.errors import ServerUnavailable
from shared.ledger.database import in_fresh_context
from shared.ledger.tally import Tally
from tests.platform import Platform

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, {end})
    VALUES ({{}}, 'test', 1, ARRAY['default'], 8, {{}}, now() - {{}}::text::interval)
"""
HELD = """
    INSERT INTO task (name, type, queue, priority, params, holder)
    VALUES ('sample.instant', 'sample', 'default', 5, '{{}}', {}) RETURNING id
"""


class Clock:
    """The clock of a process, set by the test."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


async def ended(platform: Platform, end: str, ago: str) -> UUID:
    """Register a worker that ended. `end` is the column of its end."""
    worker = uuid4()
    await platform.rows(WORKER.format(end=end), worker, worker.int >> 66, ago)
    return worker


@pytest.fixture
async def former(platform: Platform) -> FormerWorkers:
    return FormerWorkers(platform.database)


async def unsettled(former: FormerWorkers) -> list[UUID]:
    await former.read()
    return [worker.id for worker in former.unsettled]


async def check_all(former: FormerWorkers) -> None:
    for worker in former.unsettled:
        assert not await former.check(worker)


async def test_a_stopped_worker_is_checked_at_once_and_when_none_of_its_transactions_is_left(
    platform: Platform, former: FormerWorkers
) -> None:
    worker = await ended(platform, "stopped_at", "1 s")
    assert await unsettled(former) == [worker]
    await check_all(former)
    assert await unsettled(former) == []
    await platform.rows("UPDATE worker SET stopped_at = now() - interval '31 s'")
    assert await unsettled(former) == [worker]
    await check_all(former)
    assert await unsettled(former) == []


async def test_a_check_that_takes_too_long_is_canceled_and_repeated_after_a_minute(
    platform: Platform,
    former: FormerWorkers,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    worker = await ended(platform, "stopped_at", "5 min")
    clock = Clock()
    monkeypatch.setattr(former_workers, "time", clock)
    locked = await platform.database.connect()
    try:
        await locked.execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        assert await unsettled(former) == [worker]
        await check_all(former)
    finally:
        await locked.close()
    clock.seconds = former_workers.AGAIN_S - 1
    assert await unsettled(former) == []
    clock.seconds = former_workers.AGAIN_S + 1
    assert await unsettled(former) == [worker]
    await check_all(former)
    assert await unsettled(former) == []
    assert not caplog.records


async def test_a_check_ends_with_an_error_if_postgres_does_not_answer(
    platform: Platform, former: FormerWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Postgres would cancel the statement only after a minute, as if it were frozen."""
    await ended(platform, "stopped_at", "5 min")
    await former.read()
    (worker,) = former.unsettled
    monkeypatch.setattr(former_workers, "CHECK_LIMIT_S", 60)
    monkeypatch.setattr(platform.database, "limit_s", 0.2)
    locked = await platform.database.connect()
    try:
        await locked.execute("BEGIN; LOCK TABLE task IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ServerUnavailable):
            async with asyncio.timeout(3):
                await former.check(worker)
    finally:
        await locked.close()


async def test_a_dead_worker_is_checked_in_every_round_until_none_of_its_transactions_is_left(
    platform: Platform, former: FormerWorkers
) -> None:
    worker = await ended(platform, "dead_at", "1 s")
    assert (await unsettled(former), former.just_dead, former.dead) == ([], [worker], [worker])
    await platform.rows("UPDATE worker SET dead_at = now() - interval '31 s'")
    assert (await unsettled(former), former.just_dead, former.dead) == ([worker], [], [worker])
    await check_all(former)
    assert (await unsettled(former), former.just_dead, former.dead) == ([], [], [worker])


async def test_workers_that_ended_over_an_hour_ago_are_left_to_the_search_for_unknown_ones(
    platform: Platform, former: FormerWorkers
) -> None:
    await ended(platform, "stopped_at", "61 min")
    await ended(platform, "dead_at", "61 min")
    assert (await unsettled(former), former.dead) == ([], [])


@pytest.mark.parametrize("end", ["dead_at", "stopped_at"])
async def test_a_task_that_was_locked_when_its_ended_worker_was_checked_is_rescued_later(
    platform: Platform, end: str
) -> None:
    worker = await ended(platform, end, "5 min")
    task = (await platform.rows(HELD, worker))[0]["id"]
    leader = Rescuer(platform.database, platform.queues, Tally(platform.database), stall_after_s=60)
    async with platform.database.short_transaction():
        await platform.rows("SELECT FROM task WHERE id = {} FOR UPDATE", task)
        await in_fresh_context(leader.run_once())
    assert [row["holder"] for row in await platform.tasks([task])] == [worker]
    await leader.run_once()
    assert [row["holder"] for row in await platform.tasks([task])] == [None]


async def test_a_round_leaves_workers_to_the_next_one_when_its_time_is_over(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = []
    for _ in range(3):
        (row,) = await platform.rows(HELD, await ended(platform, "stopped_at", "1 s"))
        tasks.append(row["id"])
    monkeypatch.setattr(rescuer, "CHECK_FOR_S", 0)
    leader = Rescuer(platform.database, platform.queues, Tally(platform.database), stall_after_s=60)
    left = []
    for _ in range(3):
        await leader.run_once()
        left.append(sum(row["holder"] is not None for row in await platform.tasks(tasks)))
    assert left == [2, 1, 0]
