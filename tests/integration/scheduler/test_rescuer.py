"""Tests of the rescuer, which takes over the task ids that a dead worker had fetched."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.scheduler.rescuer import Rescuer, Watch
from shared.ledger.tally import Tally
from shared.transport.queues import Queues, connect
from tests.metric_values import value
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

DEAD = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, dead_at)
    VALUES ({}, 'test', 1, {}, 8, 1, now())
"""


class Awake(Queues):
    """Simulates a worker that was declared dead but is still alive.

    It fetches once more while its unacked set is being read.
    """

    async def unacked(self, worker: UUID) -> set[UUID]:
        fetched = await super().unacked(worker)
        await self.fetch(worker, ["default"], wanted=1, served=0, idle=False)
        return fetched


async def test_an_id_that_a_dead_worker_fetches_while_its_set_is_emptied_is_not_lost(
    platform: Platform,
) -> None:
    worker = uuid4()
    await platform.rows(DEAD, worker, ["default"])
    first, second = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.queues.fetch(worker, ["default"], wanted=1, served=0, idle=False)
    assert await platform.queues.unacked(worker) == {first}

    awake = Awake(connect(platform.redis_url))
    await Rescuer(platform.database, awake, Tally(platform.database), stall_after_s=60).run_once()
    await awake.client.aclose()
    assert await platform.queues.unacked(worker) == {second}
    await Rescuer(platform.database, platform.queues, Tally(platform.database), stall_after_s=60).run_once()

    rows = await platform.tasks([first, second])
    assert [(row["sent_at"], row["send_at"] is not None) for row in rows] == [(None, True), (None, True)]
    assert not await platform.queues.unacked(worker)


async def test_a_worker_that_two_leaders_find_dead_is_declared_dead_and_counted_once(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    worker = uuid4()
    await platform.rows(DEAD, worker, ["default"])
    await platform.rows("UPDATE worker SET dead_at = NULL")

    class Certain(Watch):
        def observe(self, workers: Sequence[Mapping[str, Any]], now: float) -> list[UUID]:
            return [worker]

    counted = value("often_rescuer_workers_declared_dead_total")
    for _ in range(2):
        leader = Rescuer(platform.database, platform.queues, Tally(platform.database), stall_after_s=60)
        leader.watch = Certain(60)
        await leader.run_once()
    assert value("often_rescuer_workers_declared_dead_total") - counted == 1
    (record,) = [each for each in caplog.records if "declared dead" in each.message]
    named = vars(record)
    assert (named["worker_id"], named["host"], named["pid"]) == (str(worker), "test", 1)
