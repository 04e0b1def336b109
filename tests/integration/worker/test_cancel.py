"""Cancelling what waits, what a worker has claimed and what runs."""

import asyncio
import signal

from shared.ledger import statements
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds


async def test_a_waiting_task_is_revoked_at_once_and_its_id_in_redis_runs_nothing(platform: Platform) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    (answer,) = await platform.rows(statements.CANCEL, task_id)
    assert answer["status"] == "revoked"
    (after,) = await platform.submit(INSTANT, Nothing())
    await platform.start_worker()
    await platform.until(after, "success")
    row = await platform.task(task_id)
    assert (row["status"], row["attempt"], row["sent_at"]) == ("revoked", 0, None)


async def test_a_running_body_sees_that_it_was_cancelled(platform: Platform) -> None:
    await platform.start_worker()
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=60))
    await platform.until(task_id, "started")
    await platform.rows(statements.CANCEL, task_id)
    await platform.queues.announce_cancel(task_id)
    # A body that returns after the request is a success: its work is done.
    row = await platform.until(task_id, "success")
    assert row["cancel_requested_at"] is not None
    assert row["execution_time_seconds"] < 30


async def test_a_claimed_task_is_revoked_before_it_starts_although_the_announcement_was_missed(
    platform: Platform,
) -> None:
    process = await platform.start_worker(OFTEN_WORKER_THREADS="1")
    worker = await platform.worker_of(process)
    (running,) = await platform.submit(WAIT, Seconds(seconds=4))
    await platform.until(running, "started")
    process.send_signal(signal.SIGSTOP)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    # As if the stopped worker had claimed it a moment ago.
    await platform.rows(
        "UPDATE task SET holder = {}, claim = 1, sent_at = NULL WHERE id = {}", worker, task_id
    )
    await platform.rows(statements.CANCEL, task_id)
    assert (await platform.task(task_id))["status"] == "pending"
    process.send_signal(signal.SIGCONT)
    await platform.start_scheduler()

    row = await platform.until(task_id, "revoked", "success")
    assert row["status"] == "revoked"
    assert row["attempt"] == 0


async def test_nothing_of_a_cancelled_task_is_left_in_a_place(platform: Platform) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=20)
    for task_id in ids:
        await platform.rows(statements.CANCEL, task_id)
    process = await platform.start_worker()

    async def lanes_empty() -> bool:
        worker = await platform.worker_of(process)
        assert worker is not None
        left = await platform.queues.head("default", 5, 1)
        return not left and not await platform.queues.unacked(worker)

    await eventually(lanes_empty)
    rows = await asyncio.gather(*(platform.task(task_id) for task_id in ids))
    assert {(r["status"], r["send_at"], r["sent_at"], r["holder"]) for r in rows} == {
        ("revoked", None, None, None)
    }
