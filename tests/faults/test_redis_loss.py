"""Tests that tasks run although Redis has lost its data."""

from shared.transport.keys import lane_key
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

RESEND_LIMIT_S = 30


async def test_everything_queued_runs_after_redis_was_wiped(platform: Platform) -> None:
    await platform.start_scheduler()
    ids = await platform.submit(INSTANT, Nothing(), count=1_000)
    assert await platform.queues.client.llen(lane_key("default", 5)) == 1_000
    await platform.queues.client.flushdb()

    await platform.start_worker()

    rows = await platform.all_final(ids, RESEND_LIMIT_S)
    assert {(row["status"], row["attempt"]) for row in rows} == {("success", 1)}


async def test_an_id_that_vanished_from_its_lane_is_found_by_its_age(platform: Platform) -> None:
    await platform.start_scheduler()
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.queues.client.lpop(lane_key("default", 5))
    # The ids of these two tasks are removed from the list, one before and one after this statement.
    # It marks both tasks as sent two minutes ago. They are then older than the first id that is
    # left in the list, by which the scheduler detects that their ids are lost.
    await platform.rows(
        "UPDATE task SET sent_at = sent_at - interval '2 minutes' WHERE id = ANY({}::uuid[])", ids[:2]
    )
    await platform.queues.client.lpop(lane_key("default", 5))
    await platform.start_worker()

    rows = await platform.all_final(ids, RESEND_LIMIT_S)
    assert {row["status"] for row in rows} == {"success"}
