"""Tests of the check that finds task ids that a lane of Redis has lost, by the ids at its head."""

from datetime import timedelta
from uuid import UUID

import pytest

from services.scheduler.dispatcher import Dispatcher
from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import HEAD, LaneCheck
from services.scheduler.resender import Resender
from shared.backlog import BEGINNING
from shared.errors import ServerRefuses
from shared.transport.keys import lane_key, rescue_key
from shared.transport.queues import Address
from tests.canceled_statements import canceled
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

LANE = lane_key("default", 5)


@pytest.fixture
async def check(platform: Platform) -> LaneCheck:
    """A check beside a resender that has run its first rounds."""
    service = Resender(platform.database, platform.queues)
    while await service.run_once():
        pass
    return LaneCheck(platform.database, platform.queues, ["default"])


async def test_garbage_at_the_head_of_a_lane_does_not_make_waiting_tasks_look_lost(
    platform: Platform, check: LaneCheck
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '1 hour'")
    await platform.queues.client.lpush(LANE, *(f"garbage {i}" for i in range(40)))
    await check.run_once()
    assert await in_redis(platform, ids) == [True] * 3


async def test_ids_older_than_the_head_of_their_lane_go_back_to_postgres(
    platform: Platform, check: LaneCheck
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows(
        "UPDATE task SET sent_at = sent_at - interval '1 minute' WHERE id = ANY({}::uuid[])", ids[:2]
    )
    await platform.queues.client.lrem(LANE, 1, ids[0].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await check.run_once()
    # The lane now begins with the second id. A missing id is noticed only if it was sent before the
    # id at the head.
    assert [row["send_at"] is None for row in await platform.tasks(ids)] == [True, True, True]
    await platform.queues.client.lrem(LANE, 1, ids[1].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await check.run_once()
    assert [row["send_at"] is None for row in await platform.tasks(ids)] == [False, False, True]
    await Dispatcher(platform.database, platform.queues, IndexCursor()).run_once()
    assert set(await platform.queues.head("default", 5, 10)) == set(ids)


async def suspects(platform: Platform, count: int, sent: str) -> list[UUID]:
    """Create suspects (tasks whose worker died), and put their ids into the lane of rescued ids, as
    the dispatcher does.
    """
    ids = await platform.submit(INSTANT, Nothing(), count=count)
    await platform.queues.client.delete(LANE)
    await platform.rows(
        "UPDATE task SET suspect = true, sent_at = now() - {}::text::interval WHERE id = ANY({}::uuid[])",
        *(sent, ids),
    )
    await platform.queues.push([Address(task_id, "default", 5, rescued=True) for task_id in ids])
    return ids


async def in_redis(platform: Platform, ids: list[UUID]) -> list[bool]:
    """For each task, whether the ledger says that its id is in Redis (`sent_at`)."""
    return [row["sent_at"] is not None for row in await platform.tasks(ids)]


async def test_a_suspect_that_waits_in_the_lane_of_rescued_tasks_is_not_lost(
    platform: Platform, check: LaneCheck
) -> None:
    old = await suspects(platform, 2, "2 minutes")
    # The ordinary lane of the suspects' priority is first empty, and then has a younger id at its
    # head. In neither case do the suspects count as lost.
    await check.run_once()
    assert await in_redis(platform, old) == [True, True]
    await platform.submit(INSTANT, Nothing())
    await check.run_once()
    assert await in_redis(platform, old) == [True, True]


async def test_a_suspect_that_the_lane_of_rescued_tasks_has_lost_is_sent_again(
    platform: Platform, check: LaneCheck
) -> None:
    old, young = await suspects(platform, 1, "2 minutes"), await suspects(platform, 1, "1 second")
    await platform.queues.client.lrem(rescue_key("default"), 0, old[0].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await check.run_once()
    assert await in_redis(platform, old + young) == [False, True]
    await platform.queues.client.delete(rescue_key("default"))
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '1 minute' WHERE sent_at IS NOT NULL")
    await check.run_once()
    assert await in_redis(platform, old + young) == [False, False]


async def test_an_old_suspect_does_not_hide_what_the_lane_of_its_priority_has_lost(
    platform: Platform, check: LaneCheck
) -> None:
    waiting = await suspects(platform, 1, "1 hour")
    lost = await platform.submit(INSTANT, Nothing())
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 minute' WHERE NOT suspect")
    # The suspect's id was pushed to the ordinary lane before its worker died. It is older than the
    # ids that the lane has lost, but must not hide their loss.
    await platform.queues.push([Address(waiting[0], "default", 5)])
    young = await platform.submit(INSTANT, Nothing())
    await check.run_once()
    assert await in_redis(platform, waiting + lost + young) == [True, False, True]


async def test_a_lost_id_behind_the_cursor_is_found_by_a_later_check(
    platform: Platform, check: LaneCheck
) -> None:
    await check.run_once()
    assert check.sent_after("default", 5) > platform.database.now() - timedelta(minutes=1)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 hour'")
    await check.run_once()
    assert await in_redis(platform, [task_id]) == [False]


async def test_the_cursor_waits_while_ids_are_lost(platform: Platform, check: LaneCheck) -> None:
    """A round makes only a part of many lost tasks due again."""
    await platform.submit(INSTANT, Nothing())
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 hour'")
    await check.run_once()
    assert check.sent_after("default", 5) == BEGINNING


async def test_lost_ids_of_a_queue_without_contract_and_worker_are_found(
    platform: Platform, check: LaneCheck
) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE task SET queue = 'former', sent_at = now() - interval '1 hour'")
    await check.run_once()
    assert await in_redis(platform, [task_id]) == [False]


async def test_the_cursor_starts_again_after_the_clock_of_postgres_was_set_back(
    platform: Platform, check: LaneCheck
) -> None:
    # An earlier check has left the cursor here, and then the clock was set back by an hour.
    check._cursors["default", 5].note_empty(platform.database.now() + timedelta(hours=1))
    await check.run_once()
    assert BEGINNING < check.sent_after("default", 5) < platform.database.now()


async def test_a_head_that_was_sent_before_the_clock_was_set_back_makes_no_id_look_lost(
    platform: Platform, check: LaneCheck
) -> None:
    *earlier, later = ids = await platform.submit(INSTANT, Nothing(), count=HEAD + 1)
    await platform.rows("UPDATE task SET sent_at = now() + interval '1 hour' WHERE id <> {}", later)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 minute' WHERE id = {}", later)
    await platform.queues.client.delete(LANE)
    await platform.queues.push([Address(task_id, "default", 5) for task_id in (*earlier, later)])
    await check.run_once()
    assert await in_redis(platform, ids) == [True] * len(ids)


async def test_a_queue_whose_statement_is_canceled_does_not_stop_the_check_of_the_others(
    platform: Platform, check: LaneCheck
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=2)
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 minute'")
    await platform.rows("UPDATE task SET queue = 'a slow one' WHERE id = {}", ids[0])
    async with canceled(platform, "UPDATE ON task", "NEW.queue = 'a slow one'"):
        with pytest.raises(ServerRefuses, match="statement timeout"):
            await check.run_once()
    assert await in_redis(platform, ids) == [True, False]
