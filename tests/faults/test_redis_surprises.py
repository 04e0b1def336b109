"""Tests that garbage in Redis, forged messages and failovers only delay tasks, and that the logs
name the cause.
"""

import subprocess
import time
from contextlib import AsyncExitStack
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from local.valkey import HOST
from shared.transport.keys import PRIORITIES, lane_key, unacked_key
from tests.eventually import eventually
from tests.garbage import forge, soil
from tests.own_valkey import Forwarder, serving, take_password
from tests.platform import Platform
from tests.sample_tasks import INSTANT, WAIT, Nothing, Seconds

#: Seconds within which new tasks must complete after a temporary problem has ended.
RECOVERY_S = 5.0
#: Seconds within which tasks must run whose ids were lost when their list in Redis was overwritten.
TAIL_LIMIT_S = 60


async def test_garbage_in_every_key_ends_no_process_and_delays_tasks_only_briefly(platform: Platform) -> None:
    process, scheduler = await platform.start_worker(), await platform.start_scheduler()
    worker = await platform.worker_of(process)
    assert worker is not None
    with redis.Redis.from_url(platform.redis_url) as client:
        for _ in range(3):
            soil(client, worker, "default")
            client.set(unacked_key(uuid4()), "hello")
            started = time.monotonic()
            ids = [(await platform.submit(INSTANT, Nothing(), priority=p))[0] for p in PRIORITIES]
            await platform.all_final(ids)
            assert time.monotonic() - started < RECOVERY_S
        client.delete(unacked_key(worker))
        client.set(unacked_key(worker), "hello")
    ids = await platform.submit(INSTANT, Nothing(), count=50)
    rows = await platform.all_final(ids, TAIL_LIMIT_S)
    assert {(row["status"], row["attempt"]) for row in rows} == {("success", 1)}
    await platform.all_acknowledged(worker)
    assert await platform.queues.client.type(unacked_key(worker)) in (b"none", b"set")
    assert (process.poll(), scheduler.poll()) == (None, None)
    assert await platform.worker_of(process) == worker
    log = platform.log_of(process)
    assert "are no task ids" in log
    assert "a Redis key held a value of the wrong type" in log
    assert f"key={lane_key('maintenance', 0)}" in log
    assert "Traceback" not in log + platform.log_of(scheduler)


async def test_forged_messages_revoke_nothing(platform: Platform) -> None:
    process = await platform.start_worker()
    (task_id,) = await platform.submit(WAIT, Seconds(seconds=2))
    await platform.until(task_id, "started")
    with redis.Redis.from_url(platform.redis_url) as client:
        forge(client, ("often:cancel", platform.queues.cancel_channel), [task_id])
    row = await platform.until(task_id, "success", "revoked", "failure")
    assert (row["status"], row["attempt"]) == ("success", 1)
    assert row["execution_time_seconds"] >= 2
    assert process.poll() is None
    log = platform.log_of(process)
    assert "ignored a hint to cancel a task" in log
    assert f"task_id={task_id}" in log
    assert log.count("that is no task id") == 3


@pytest.mark.parametrize("program", ["tests.sample_worker", "services.scheduler"])
async def test_a_process_of_another_system_refuses_to_start(platform: Platform, program: str) -> None:
    await platform.submit(INSTANT, Nothing())
    owner, ours = platform.queues.system, uuid4()
    assert owner
    await platform.rows("UPDATE generation SET system = {}", ours)
    stranger = platform.start(program)
    await eventually(lambda: stranger.poll() is not None)
    log = platform.log_of(stranger)
    assert stranger.returncode == 2
    assert f"this database belongs to system {owner.hex}, and this process to system {ours.hex}" in log
    assert "Traceback" not in log
    assert not await platform.rows("SELECT 1 FROM worker")
    assert await platform.queues.client.llen(lane_key("default", 5)) == 1

    await platform.rows("UPDATE generation SET system = {}", owner)
    welcome = platform.start(program)
    await eventually(
        lambda: any(word in platform.log_of(welcome) for word in ("takes tasks with", "stands by"))
    )
    assert welcome.poll() is None


async def test_a_failover_that_keeps_connections_costs_seconds(database_url: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(serving(tmp_path / "old"))
        new = await stack.enter_async_context(serving(tmp_path / "new"))
        forwarder = Forwarder(old)
        url = await stack.enter_async_context(forwarder.serving())
        platform = await stack.enter_async_context(Platform(database_url, url, tmp_path))
        take_password(new, old)
        worker: subprocess.Popen[bytes] = await platform.start_worker()
        await platform.start_scheduler()
        ids = await platform.submit(WAIT, Seconds(seconds=0.2), count=100)
        await platform.until(ids[0], "success")

        forwarder.server = new
        with redis.Redis.from_url(old.url()) as client:
            client.replicaof(HOST, str(new.port))

        started = time.monotonic()
        (task_id,) = await platform.submit(INSTANT, Nothing(), priority=9)
        await platform.until(task_id, "success")
        assert time.monotonic() - started < RECOVERY_S
        rows = await platform.all_final(ids, TAIL_LIMIT_S)
        assert {row["status"] for row in rows} == {"success"}
        assert worker.poll() is None
        assert "read only replica" in platform.log_of(worker)
