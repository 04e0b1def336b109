"""Tests of the resender, which finds task ids that Redis has lost: by the generation, by Redis' run
id, and by the age of the ids in a lane.
"""

from datetime import timedelta

import pytest

from local.ports import pick
from services.scheduler import resender
from services.scheduler.dispatcher import Dispatcher
from services.scheduler.index_cursor import IndexCursor
from services.scheduler.resender import Resender
from shared.errors import Stranger
from shared.new_task import NewTask
from shared.transport.keys import CHECKED_KEY, GENERATION_KEY, SYSTEM_KEY, lane_key
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

LANE = lane_key("default", 5)


@pytest.fixture
async def settled(platform: Platform) -> Resender:
    """A resender that has run its first rounds, so that Postgres and Redis have the same
    generation.
    """
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
    # Make Redis newer than the ledger, as after the ledger was restored from a backup. In the
    # restored ledger, these tasks have not ended yet.
    await platform.queues.client.delete(LANE)
    await platform.rows("UPDATE generation SET checked_at = checked_at - interval '1 second'")
    while await settled.run_once():
        pass
    assert await platform.queues.generation() == 2
    assert await platform.queues.head("default", 5, 9) == ids
    for _ in range(2):  # a second round must not raise the generation again
        await settled.run_once()
    assert await platform.queues.generation() == 2


@pytest.mark.parametrize("garbage", ["hello", "0001-01-01T00:00:00+14:00", "2026-01-01"])
async def test_a_time_written_by_another_program_means_no_restore(
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
    for service in (settled, Dispatcher(platform.database, platform.queues, IndexCursor())):
        with pytest.raises(Stranger):
            await service.run_once()
    assert [row["sent_at"] for row in await platform.tasks(ids)] == [None] * 3
    assert await platform.queues.client.keys("often:*") == [SYSTEM_KEY.encode()]


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


async def test_the_leader_counts_what_it_sends_by_reason(platform: Platform) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))
    await eventually(lambda: _expects_no_late_marks(platform))
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


async def _expects_no_late_marks(platform: Platform) -> bool:
    """Whether the leader has sent the ids again whose rows may have been marked late."""
    (known,) = await platform.rows("SELECT run_id FROM generation")
    return known["run_id"] not in (None, resender.SETTLING)


async def _sent(platform: Platform, port: int, **wanted: int) -> None:
    """Wait until the leader's metrics show exactly these numbers of sent ids, by reason."""

    async def sent() -> bool:
        told = await platform.metrics(port)
        reasons = ("due", "generation", "restart", "lost")
        counts = {reason: told.get(f"often_dispatcher_sent_total['{reason}']", 0) for reason in reasons}
        return {reason: count for reason, count in counts.items() if count} == wanted

    await eventually(sent)


async def test_a_task_that_appears_behind_the_cursor_is_sent_with_a_later_look(platform: Platform) -> None:
    cursor = IndexCursor()
    dispatcher = Dispatcher(platform.database, platform.queues, cursor)
    for minutes in range(3):
        cursor.note_empty(platform.database.now() + timedelta(minutes=minutes))
    (task,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE task SET send_at = now() - interval '1 day', sent_at = NULL")
    for _ in range(5):
        await dispatcher.run_once()
    (row,) = await platform.rows("SELECT id, sent_at IS NOT NULL AS sent FROM task")
    assert (row["id"], row["sent"]) == (task, True)
