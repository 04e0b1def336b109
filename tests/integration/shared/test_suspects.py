"""Tests of suspects: a task whose worker died runs alone for a while.

The tested statements decide for how long.
"""

from uuid import UUID, uuid4

from services.scheduler.rescuer import VERDICT
from services.worker.claims.fetcher import LIFT_MARGIN_S
from shared.ledger.transitions import rescue, send
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES ({}, 'test', 1, '{{default}}', 8, {})
"""
START = """
    UPDATE task SET status = 'started', attempt = attempt + 1, started_at = now() - make_interval(secs => {})
"""
#: Moves the worker's last heartbeat back by some seconds, as if the worker had died then and is
#: noticed only now.
DIED = "UPDATE worker SET heartbeat_at = now() - make_interval(secs => {})"


async def claim(platform: Platform, task_id: UUID) -> UUID:
    worker = uuid4()
    await platform.rows(WORKER, worker, worker.int >> 66)
    assert await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    return worker


async def die(platform: Platform, task_id: UUID, *, began_s: float, died_s: float) -> None:
    """Let a worker start the task `began_s` seconds ago and die `died_s` seconds ago, and then
    rescue the task.
    """
    worker = await claim(platform, task_id)
    await platform.rows(START, began_s)
    await platform.rows(DIED, died_s)
    await platform.rows("UPDATE worker SET dead_at = now()")
    assert await platform.rows(rescue.RESCUE_FROM, workers=[worker], **VERDICT)


async def is_lifted_after(platform: Platform, task_id: UUID, worker: UUID, seconds: float) -> bool:
    row = await platform.task(task_id)
    await platform.rows(START, seconds)
    values = {"id": task_id, "claim": row["claim"], "margin_s": LIFT_MARGIN_S}
    assert not await platform.rows(rescue.LIFT, worker=uuid4(), **values)
    return bool(await platform.rows(rescue.LIFT, worker=worker, **values))


async def test_a_crashed_attempt_ends_a_second_after_the_last_heartbeat(platform: Platform) -> None:
    """A crashed attempt is recorded as ended one second after its worker's last heartbeat, although
    the rescue comes later.
    """
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await die(platform, task_id, began_s=10, died_s=7)
    (attempt,) = await platform.attempts(task_id)
    assert 4.0 <= attempt["execution_time_seconds"] < 4.2
    lasted = attempt["ended_at"] - attempt["started_at"]
    assert lasted.total_seconds() == attempt["execution_time_seconds"]


async def test_a_suspect_runs_alone_until_it_has_outlived_its_deaths(platform: Platform) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await die(platform, task_id, began_s=10, died_s=7)
    await die(platform, task_id, began_s=10, died_s=8)
    worker = await claim(platform, task_id)
    assert not await is_lifted_after(platform, task_id, worker, 4.5)
    assert await is_lifted_after(platform, task_id, worker, 6)
    # The task has now run for longer than in the attempts in which its workers died, so it is no
    # suspect any more. Another death of its worker does not count as a crash.
    row = await platform.task(task_id)
    assert (row["suspect"], row["crashes"], row["status"]) == (False, 1, "started")
    await platform.rows("UPDATE worker SET dead_at = now()")
    await platform.rows(rescue.RESCUE_FROM, workers=[worker], **VERDICT)
    row = await platform.task(task_id)
    assert (row["suspect"], row["crashes"], row["status"]) == (True, 1, "pending")


async def test_a_suspect_that_never_began_runs_alone_for_a_moment(platform: Platform) -> None:
    (task_id,) = await platform.submit(INSTANT, Nothing())
    dead = await claim(platform, task_id)
    await platform.rows("UPDATE worker SET dead_at = now()")
    assert await platform.rows(rescue.RESCUE_FROM, workers=[dead], **VERDICT)
    worker = await claim(platform, task_id)
    assert not await is_lifted_after(platform, task_id, worker, 0)
    assert await is_lifted_after(platform, task_id, worker, 2 * LIFT_MARGIN_S)
