"""What Redis lost, told by generation, run id and age in the lane."""

from datetime import timedelta
from uuid import UUID

import pytest

from local.ports import pick
from services.scheduler import resender
from services.scheduler.dispatcher import Dispatcher
from services.scheduler.resender import Resender
from shared.errors import Stranger
from shared.submission import NewTask
from shared.transport.keys import CHECKED_KEY, GENERATION_KEY, SYSTEM_KEY, lane_key, rescue_key
from shared.transport.queues import Address
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

LANE = lane_key("default", 5)


@pytest.fixture
async def settled(platform: Platform) -> Resender:
    """A resender after its first rounds: Postgres and Redis agree on a generation."""
    service = Resender(platform.database, platform.queues)
    while await service.run_once():
        pass
    assert await platform.queues.generation() == 1
    return service


async def test_a_wiped_redis_gets_everything_again_in_order(
    platform: Platform, settled: Resender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resender, "BATCH", 7)
    ids = await platform.submit(INSTANT, Nothing(), count=50)
    await platform.queues.client.flushdb()
    while await settled.run_once():
        pass
    assert await platform.queues.head("default", 5, 100) == ids
    assert await platform.queues.generation() == 2


@pytest.mark.parametrize("garbage", ["hello", ""])
async def test_an_overwritten_generation_is_written_again_and_nothing_is_lost(
    platform: Platform, settled: Resender, garbage: str
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.queues.client.set(GENERATION_KEY, garbage)
    while await settled.run_once():
        pass
    assert await platform.queues.generation() == 2
    assert set(await platform.queues.head("default", 5, 9)) == set(ids)


async def test_a_ledger_that_is_older_than_redis_was_restored_and_everything_is_sent_again(
    platform: Platform, settled: Resender
) -> None:
    await settled.run_once()
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.queues.client.delete(LANE)  # these tasks have ended since the backup was made
    await platform.rows("UPDATE generation SET checked_at = checked_at - interval '1 second'")
    while await settled.run_once():
        pass
    assert await platform.queues.generation() == 2
    assert await platform.queues.head("default", 5, 9) == ids
    for _ in range(2):  # once is enough
        await settled.run_once()
    assert await platform.queues.generation() == 2


@pytest.mark.parametrize("garbage", ["hello", "0001-01-01T00:00:00+14:00", "2026-01-01"])
async def test_a_time_that_somebody_else_wrote_means_no_restore(
    platform: Platform, settled: Resender, garbage: str
) -> None:
    await platform.queues.client.set(CHECKED_KEY, garbage)
    for _ in range(2):
        await settled.run_once()
    assert await platform.queues.generation() == 1


async def test_in_the_redis_of_another_system_nothing_is_sent(platform: Platform, settled: Resender) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.queues.client.flushdb()
    await platform.queues.client.set(SYSTEM_KEY, "0" * 32)
    await platform.rows("UPDATE task SET send_at = now(), sent_at = NULL")
    for service in (settled, Dispatcher(platform.database, platform.queues)):
        with pytest.raises(Stranger):
            await service.run_once()
    assert await in_redis(platform, ids) == [False] * 3
    assert await platform.queues.client.keys("often:*") == [SYSTEM_KEY.encode()]


async def test_garbage_at_the_head_of_a_lane_does_not_make_waiting_tasks_look_lost(
    platform: Platform, settled: Resender
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '1 hour'")
    await platform.queues.client.lpush(LANE, *(f"garbage {i}" for i in range(40)))
    await settled.check_lanes()
    assert await in_redis(platform, ids) == [True] * 3


async def test_what_was_pushed_before_the_loss_and_marked_after_the_resend_is_sent_again(
    platform: Platform, settled: Resender
) -> None:
    await settled.run_once()
    (task_id,) = await platform.submitter.submit([NewTask(contract=INSTANT, params=Nothing())])
    await platform.queues.client.flushdb()
    while await settled.run_once():
        pass
    await platform.submitter.mark()
    assert await platform.queues.head("default", 5, 100) == []
    assert not await settled.run_once()
    assert await platform.queues.head("default", 5, 100) == [task_id]
    assert not await settled.run_once()
    assert await platform.queues.head("default", 5, 100) == [task_id]


async def test_a_redis_wiped_again_in_the_middle_of_a_resend_gets_everything(
    platform: Platform, settled: Resender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resender, "BATCH", 10)
    ids = await platform.submit(INSTANT, Nothing(), count=50)
    await platform.queues.client.flushdb()
    for _ in range(3):
        assert await settled.run_once()
    await platform.queues.client.flushdb()
    while await settled.run_once():
        pass
    assert await platform.queues.head("default", 5, 100) == ids


async def test_a_leader_that_died_in_a_resend_is_continued_by_the_next(
    platform: Platform, settled: Resender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resender, "BATCH", 10)
    ids = await platform.submit(INSTANT, Nothing(), count=50)
    await platform.queues.client.flushdb()
    for _ in range(3):
        assert await settled.run_once()
    successor = Resender(platform.database, platform.queues)
    while await successor.run_once():
        pass
    assert await platform.queues.head("default", 5, 100) == ids


async def test_after_a_restart_of_redis_the_last_minute_is_sent_again(
    platform: Platform, settled: Resender
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE generation SET run_id = 'another'")
    assert not await settled.run_once()
    assert await platform.queues.head("default", 5, 10) == ids


async def test_ids_older_than_the_head_of_their_lane_go_back_to_postgres(
    platform: Platform, settled: Resender
) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=3)
    await platform.rows(
        "UPDATE task SET sent_at = sent_at - interval '1 minute' WHERE id = ANY({}::uuid[])", ids[:2]
    )
    await platform.queues.client.lrem(LANE, 1, ids[0].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await settled.check_lanes()
    # The second one is at the head, and all that is younger than it is taken to be there.
    assert [row["send_at"] is None for row in await platform.tasks(ids)] == [True, True, True]
    await platform.queues.client.lrem(LANE, 1, ids[1].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await settled.check_lanes()
    assert [row["send_at"] is None for row in await platform.tasks(ids)] == [False, False, True]
    await Dispatcher(platform.database, platform.queues).run_once()
    assert set(await platform.queues.head("default", 5, 10)) == set(ids)


async def suspects(platform: Platform, count: int, sent: str) -> list[UUID]:
    """Tasks in the lane of rescued ones, as the dispatcher leaves them after their worker has died."""
    ids = await platform.submit(INSTANT, Nothing(), count=count)
    await platform.queues.client.delete(LANE)
    await platform.rows(
        "UPDATE task SET suspect = true, sent_at = now() - {}::text::interval WHERE id = ANY({}::uuid[])",
        *(sent, ids),
    )
    await platform.queues.push([Address(task_id, "default", 5, rescued=True) for task_id in ids])
    return ids


async def in_redis(platform: Platform, ids: list[UUID]) -> list[bool]:
    """Whether the ledger takes the id of each task for sent."""
    return [row["sent_at"] is not None for row in await platform.tasks(ids)]


async def test_a_suspect_that_waits_in_the_lane_of_rescued_tasks_is_not_lost(
    platform: Platform, settled: Resender
) -> None:
    old = await suspects(platform, 2, "2 minutes")
    # With an empty lane of their priority, and with one whose head is younger.
    await settled.check_lanes()
    assert await in_redis(platform, old) == [True, True]
    await platform.submit(INSTANT, Nothing())
    await settled.check_lanes()
    assert await in_redis(platform, old) == [True, True]


async def test_a_suspect_that_the_lane_of_rescued_tasks_has_lost_is_sent_again(
    platform: Platform, settled: Resender
) -> None:
    old, young = await suspects(platform, 1, "2 minutes"), await suspects(platform, 1, "1 second")
    await platform.queues.client.lrem(rescue_key("default"), 0, old[0].bytes)  # type: ignore[arg-type] # redis-py knows text only
    await settled.check_lanes()
    assert await in_redis(platform, old + young) == [False, True]
    await platform.queues.client.delete(rescue_key("default"))
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '1 minute' WHERE sent_at IS NOT NULL")
    await settled.check_lanes()
    assert await in_redis(platform, old + young) == [False, False]


async def test_an_old_suspect_does_not_hide_what_the_lane_of_its_priority_has_lost(
    platform: Platform, settled: Resender
) -> None:
    waiting = await suspects(platform, 1, "1 hour")
    lost = await platform.submit(INSTANT, Nothing())
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE task SET sent_at = now() - interval '1 minute' WHERE NOT suspect")
    # An id of a suspect that was pushed into this lane before its worker died.
    await platform.queues.push([Address(waiting[0], "default", 5)])
    young = await platform.submit(INSTANT, Nothing())
    await settled.check_lanes()
    assert await in_redis(platform, waiting + lost + young) == [True, False, True]


async def test_the_leader_counts_what_it_sends_by_reason(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))
    (later,) = await platform.submit(INSTANT, Nothing(), delay=timedelta(seconds=0.2))
    await _sent(platform, port, due=1)
    others = await platform.submit(INSTANT, Nothing(), count=2)

    await platform.queues.client.flushdb()
    await _sent(platform, port, due=1, generation=3)
    await platform.rows("UPDATE generation SET run_id = 'another'")
    await _sent(platform, port, due=1, generation=3, restart=3)

    assert await platform.queues.head("default", 5, 6) == [later, *others] * 2
    await platform.queues.client.lrem(LANE, 0, later.bytes)  # type: ignore[arg-type] # redis-py knows text only
    await platform.rows("UPDATE task SET sent_at = sent_at - interval '2 minutes' WHERE id = {}", later)
    await _sent(platform, port, due=2, generation=3, restart=3, lost=1)


async def _sent(platform: Platform, port: int, **wanted: int) -> None:
    """Wait until the leader has counted exactly these."""

    async def sent() -> bool:
        told = await platform.metrics(port)
        reasons = ("due", "generation", "restart", "lost")
        counts = {reason: told.get(f"often_dispatcher_sent_total['{reason}']", 0) for reason in reasons}
        return {reason: count for reason, count in counts.items() if count} == wanted

    await eventually(sent)
