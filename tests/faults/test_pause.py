"""Tests that a paused queue stays paused although everything restarts, and that no task is lost."""

import asyncio
from datetime import datetime, timedelta
from uuid import UUID

from shared.contracts.maintenance import CLEANUP_EXPIRED_REFRESH_TOKENS, CleanupExpiredRefreshTokens
from tests.api_process import Api
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import WAIT, Seconds

#: Maximum time between the answer to the pause request and the last start of a task.
LIMIT = timedelta(seconds=1)
#: Maximum time between a pause and the last start of a task if the message to the workers is lost.
#: It is two heartbeat intervals.
WITHOUT_MESSAGE = timedelta(seconds=2)
COUNT = 1_000
STARTED = "SELECT count(*) AS n FROM task WHERE attempt > 0 AND queue = 'default'"


async def busy(platform: Platform) -> list[UUID]:
    """Submit tasks, and wait until two workers have started some of them. Returns their ids."""
    ids = await platform.submit(WAIT, Seconds(seconds=0.1), count=COUNT)

    async def begun() -> bool:
        rows = await platform.rows("SELECT count(DISTINCT worker) AS n FROM task WHERE attempt > 0")
        return bool(rows[0]["n"] == 2)

    await eventually(begun)
    return ids


async def last_start(platform: Platform) -> datetime:
    """Wait until no worker holds a task of the paused queue. Returns when the last task was
    started.
    """

    async def idle() -> bool:
        return not await platform.rows("SELECT 1 FROM task WHERE holder IS NOT NULL AND queue = 'default'")

    await eventually(idle)
    (row,) = await platform.rows("SELECT max(started_at) AS last FROM task WHERE queue = 'default'")
    last: datetime = row["last"]
    return last


async def others_run(platform: Platform) -> None:
    """Run a task of another queue. It proves that workers have fetched tasks since the pause."""
    (task_id,) = await platform.submit(CLEANUP_EXPIRED_REFRESH_TOKENS, CleanupExpiredRefreshTokens())
    await platform.until(task_id, "success")


async def test_a_pause_holds_over_restarts_and_an_empty_redis(platform: Platform) -> None:
    scheduler = await platform.start_scheduler()
    workers = [await platform.start_worker() for _ in range(2)]
    api = Api(platform)
    await api.start()
    operator = await api.sign_up("operator")
    ids = await busy(platform)

    answer = await operator.post("queues/default/pause", json={"reason": "the provider is down"})
    (clock,) = await platform.rows("SELECT clock_timestamp() AS now")

    assert answer.status_code == 200
    assert await last_start(platform) <= clock["now"] + LIMIT
    started = await platform.rows(STARTED)
    assert 0 < started[0]["n"] < COUNT
    await others_run(platform)

    for worker in workers:
        worker.terminate()
        assert await asyncio.to_thread(worker.wait, 20) == 0
    scheduler.kill()
    await asyncio.to_thread(scheduler.wait, 20)
    await api.stop()
    await platform.queues.client.flushdb()
    await platform.start_scheduler()
    await platform.start_worker()
    await api.start()
    for _ in range(2):
        await others_run(platform)
    assert await platform.rows(STARTED) == started

    past = await operator.post(f"tasks/{ids[-1]}/run-now", json={"past_pause": True})
    assert past.status_code == 202
    await platform.until(ids[-1], "success")
    await others_run(platform)
    (row,) = await platform.rows(STARTED)
    assert row["n"] == started[0]["n"] + 1

    assert (await operator.post("queues/default/resume", json={})).status_code == 200
    rows = await platform.all_final(ids, 120)
    assert {(row["status"], row["attempt"]) for row in rows} == {("success", 1)}
    await operator.aclose()


async def test_a_worker_learns_of_a_pause_without_a_message(platform: Platform) -> None:
    await platform.start_scheduler()
    for _ in range(2):
        await platform.start_worker()
    await busy(platform)

    await platform.rows("INSERT INTO queue_control (queue, paused_at) VALUES ('default', now())")
    (clock,) = await platform.rows("SELECT clock_timestamp() AS now")

    assert await last_start(platform) <= clock["now"] + WITHOUT_MESSAGE
    (row,) = await platform.rows("SELECT count(*) AS n FROM task WHERE attempt = 0")
    assert row["n"] > 0
