"""What the rescuer does with the ids that a dead worker had fetched."""

from uuid import UUID, uuid4

from services.scheduler.rescuer import Rescuer
from shared.ledger.tally import Tally
from shared.transport.queues import Queues, connect
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

DEAD = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, dead_at)
    VALUES ({}, 'test', 1, {}, 8, 1, now())
"""


class Awake(Queues):
    """A worker that was declared dead, wakes up and fetches once more while its set is read."""

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
