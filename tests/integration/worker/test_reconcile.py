"""Tests that a worker finds ids and claims of which it does not know, because the answers that
would have told it were lost.
"""

from datetime import timedelta
from uuid import uuid4

from shared.transport.keys import unacked_key
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

#: Seconds until a worker must have found what it did not know. It compares its claims with Redis
#: and the ledger every five seconds.
LIMIT_S = 30


async def test_an_id_whose_fetch_lost_its_answer_runs(platform: Platform) -> None:
    await platform.start_scheduler()
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.queues.client.delete("often:lane:default:5")
    worker = await platform.worker_of(await platform.start_worker())
    assert worker is not None
    await platform.queues.client.sadd(unacked_key(worker), task_id.bytes)

    row = await platform.until(task_id, "success", timeout_s=LIMIT_S)

    assert row["attempt"] == 1
    await platform.all_acknowledged(worker)


async def test_a_claim_whose_answer_was_lost_is_given_back_and_runs(platform: Platform) -> None:
    await platform.start_scheduler()
    worker = await platform.worker_of(await platform.start_worker())
    # The task is due in an hour. Before that, no dispatcher sends it and no worker fetches it, so
    # only the reconciliation can find it.
    (task_id,) = await platform.submit(INSTANT, Nothing(), delay=timedelta(hours=1))
    await platform.rows(
        "UPDATE task SET holder = {}, claim = 1, send_at = NULL WHERE id = {}", worker, task_id
    )

    row = await platform.until(task_id, "success", timeout_s=LIMIT_S)

    assert (row["attempt"], row["claim"], row["suspect"]) == (1, 2, False)


async def test_ids_that_are_no_tasks_or_ended_long_ago_do_no_harm(platform: Platform) -> None:
    process = await platform.start_worker()
    (done,) = await platform.submit(INSTANT, Nothing())
    await platform.until(done, "success")
    stray = [uuid4().bytes, done.bytes, done.bytes]
    await platform.queues.client.rpush("often:lane:default:9", *stray)
    await platform.queues.client.rpush("often:wake:default", "1")
    worker = await platform.worker_of(process)
    assert worker is not None

    async def gone() -> bool:
        left = await platform.queues.head("default", 9, 3)
        return not left and not await platform.queues.unacked(worker)

    await eventually(gone)
    row = await platform.task(done)
    assert (row["status"], row["attempt"], row["claim"]) == ("success", 1, 1)
