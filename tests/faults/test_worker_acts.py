"""Tests, with real processes, what a worker does when an operator asks it to take no more tasks
(quiet), to stop (drain) or to replace itself (recycle).
"""

import asyncio
import signal

import httpx

from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds


async def test_a_worker_that_was_asked_to_drain_finishes_and_ends(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    worker = await platform.start_worker()
    ids = await platform.submit(WAIT, Seconds(seconds=1), count=12)
    await platform.until(ids[0], "started")
    [shown] = (await operator.get("workers")).json()["items"]
    assert shown["pid"] == worker.pid
    assert shown["threads_busy"] == len(shown["running"]) > 0
    assert "sample.wait" in {body["task_name"] for body in shown["running"]}
    assert shown["memory_bytes"] is None or shown["memory_bytes"] > 10_000_000

    assert (await operator.post(f"workers/{shown['id']}/drain")).status_code == 202

    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert {(row["status"], row["holder"]) for row in await platform.tasks(ids)} <= {
        ("success", None),
        ("pending", None),
    }
    assert (await platform.task(ids[0]))["status"] == "success"
    assert (await operator.get("workers")).json()["items"] == []
    [ended] = (await operator.get("workers", params={"dead": True})).json()["items"]
    assert (ended["state"], ended["asked"]) == ("stopped", "drain")
    assert (await operator.post(f"workers/{shown['id']}/quiet")).status_code == 409


async def test_a_worker_that_was_asked_to_recycle_replaces_itself(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    worker = await platform.start_worker()
    before = await platform.worker_of(worker)
    assert (await operator.post(f"workers/{before}/recycle")).status_code == 202

    async def replaced() -> bool:
        return await platform.worker_of(worker) != before

    await eventually(replaced)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.until(task_id, "success")
    assert worker.poll() is None


async def test_a_worker_that_is_asked_to_stop_while_it_replaces_itself_has_no_successor(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    worker = await platform.start_worker()
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=3))
    await platform.until(task_id, "started")
    before = await platform.worker_of(worker)
    assert (await operator.post(f"workers/{before}/recycle")).status_code == 202
    await eventually(lambda: "worker stopping" in platform.log_of(worker))
    worker.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(worker.wait, 20) == 0
    assert await platform.worker_of(worker) == before
    assert (await platform.task(task_id))["status"] == "success"


async def test_a_quiet_worker_takes_nothing_and_stays(
    platform: Platform, operator: httpx.AsyncClient
) -> None:
    await platform.start_scheduler()
    quiet, other = [await platform.start_worker() for _ in range(2)]
    quiet_id, other_id = await platform.worker_of(quiet), await platform.worker_of(other)
    assert (await operator.post(f"workers/{quiet_id}/quiet")).status_code == 202

    async def is_quiet() -> bool:
        items = (await operator.get("workers")).json()["items"]
        return {item["id"]: item["state"] for item in items} == {
            str(quiet_id): "quiet",
            str(other_id): "running",
        }

    await eventually(is_quiet)
    ids = await platform.submit(WAIT, Seconds(seconds=0.1), count=40)
    assert {row["worker"] for row in await platform.all_final(ids)} == {other_id}
    assert quiet.poll() is None
