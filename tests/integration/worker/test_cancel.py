"""Tests of canceling tasks that wait, are claimed, or run, even if their worker is dead or
frozen.
"""

import asyncio
import signal

import pytest

from local.ports import pick
from shared.ledger.transitions.operate import CANCEL
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

#: Seconds until a rescue must have happened. The design promises a third of that.
RESCUE_LIMIT_S = 45


async def test_a_waiting_task_is_revoked_at_once_and_its_id_in_redis_runs_nothing(platform: Platform) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    (answer,) = await platform.database.run(CANCEL, id=task_id)
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
    await platform.database.run(CANCEL, id=task_id)
    await platform.queues.announce_cancel(task_id)
    # The body stops early because of the cancellation, but returns a result. So the task counts as
    # succeeded.
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
    # Make it look as if the frozen worker had claimed the task right before it was stopped.
    await platform.rows(
        "UPDATE task SET holder = {}, claim = 1, sent_at = NULL WHERE id = {}", worker, task_id
    )
    await platform.database.run(CANCEL, id=task_id)
    assert (await platform.task(task_id))["status"] == "pending"
    process.send_signal(signal.SIGCONT)
    await platform.start_scheduler()

    row = await platform.until(task_id, "revoked", "success")
    assert row["status"] == "revoked"
    assert row["attempt"] == 0


@pytest.mark.parametrize(
    ("program", "status", "attempts"),
    [(("tests.sample_worker",), "started", 1), (("tests.faults.claimer", "1"), "pending", 0)],
    ids=["running", "claimed"],
)
async def test_canceled_tasks_of_a_killed_worker_are_revoked_once_it_is_declared_dead(
    platform: Platform, program: tuple[str, ...], status: str, attempts: int
) -> None:
    port = pick("metrics")["metrics"]
    await platform.start_scheduler(OFTEN_METRICS_PORT=str(port))
    worker = platform.start(*program)
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=60))

    async def held() -> bool:
        row = await platform.task(task_id)
        return row["holder"] is not None and row["status"] == status

    await eventually(held)
    worker.kill()
    await platform.database.run(CANCEL, id=task_id)
    assert (await platform.task(task_id))["status"] == status

    row = await platform.until(task_id, "revoked", timeout_s=RESCUE_LIMIT_S)

    assert (row["attempt"], row["crashes"], row["claim"]) == (attempts, 0, 2)
    assert row["completed_at"] > row["cancel_requested_at"]

    async def counted() -> bool:
        return (await platform.metrics(port)).get("often_rescuer_rescued_total['revoked']") == 1

    await eventually(counted)
    assert [attempt["outcome"] for attempt in await platform.attempts(task_id)] == ["crashed"] * attempts
    await _another_runs(platform)
    assert await platform.task(task_id) == row


async def test_a_frozen_worker_that_comes_back_cannot_change_tasks_revoked_since(
    platform: Platform,
) -> None:
    await platform.start_scheduler(OFTEN_STALL_AFTER="10")
    frozen = await platform.start_worker()
    before = await platform.worker_of(frozen)
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=5))
    await platform.until(task_id, "started")
    frozen.send_signal(signal.SIGSTOP)
    await platform.database.run(CANCEL, id=task_id)
    await platform.queues.announce_cancel(task_id)

    row = await platform.until(task_id, "revoked", timeout_s=RESCUE_LIMIT_S)
    assert (row["attempt"], row["claim"], row["holder"]) == (1, 2, None)

    frozen.send_signal(signal.SIGCONT)

    async def replaced() -> bool:
        return await platform.worker_of(frozen) != before

    await eventually(replaced)
    # The frozen worker has found out that it was declared dead, and exits at once. Before that, all
    # its writes were refused.
    assert "it was declared dead" in platform.log_of(frozen)
    await _another_runs(platform)
    assert await platform.task(task_id) == row


async def _another_runs(platform: Platform) -> None:
    """Start a live worker, and wait until it has run a task."""
    await platform.start_worker()
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.until(task_id, "success")


async def test_a_canceled_task_has_no_place(platform: Platform) -> None:
    ids = await platform.submit(INSTANT, Nothing(), count=20)
    for task_id in ids:
        await platform.database.run(CANCEL, id=task_id)
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
