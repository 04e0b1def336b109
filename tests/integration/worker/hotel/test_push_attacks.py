"""Tests that a user whose push endpoints are slow, or answer with decompression bombs, does not
harm the tasks of others.
"""

import time

import psutil

from shared.hotel.contracts.notifications import SEND_PUSH
from tests.eventually import eventually
from tests.integration.worker.hotel.test_notifications import account, push, settings, subscribe
from tests.platform import Platform
from tests.sandbox import Sandbox

#: Number of pushes that the attacker submits: twice the number of a worker's threads.
PUSHES = 16
#: Maximum duration in seconds of another user's task during the attack.
PATIENCE_S = 2.0
MAX_GROWTH_MB = 64


async def test_a_user_with_a_dripping_endpoint_does_not_occupy_all_threads(
    platform: Platform, sandbox: Sandbox
) -> None:
    await platform.start_worker(**settings(sandbox))
    guest, other = await account(platform, "guest"), await account(platform)
    _, dripping = await subscribe(platform, sandbox, guest)
    await subscribe(platform, sandbox, other)
    await sandbox.arm(service="push", path=dripping, drip="headers", drip_s=0.5, times=None)
    await platform.submit(SEND_PUSH, push(guest), count=PUSHES)

    async def attacked() -> bool:
        return bool(await sandbox.happened())

    await eventually(attacked)
    begun = time.monotonic()
    (task_id,) = await platform.submit(SEND_PUSH, push(other))
    await platform.until(task_id, "success", timeout_s=60)

    assert time.monotonic() - begun < PATIENCE_S
    # Only two pushes of one user run at a time. Further ones wait until one has ended.
    assert (await sandbox.happened())["push drips headers"] <= 2


async def test_a_user_whose_endpoint_sends_bombs_uses_up_no_memory(
    platform: Platform, sandbox: Sandbox
) -> None:
    worker = await platform.start_worker(**settings(sandbox))
    guest = await account(platform, "guest")
    _, bombing = await subscribe(platform, sandbox, guest)
    await platform.all_final(await platform.submit(SEND_PUSH, push(guest)))
    before = psutil.Process(worker.pid).memory_info().rss
    await sandbox.arm(service="push", path=bombing, status=201, bomb_mb=500, times=None)

    tasks = await platform.submit(SEND_PUSH, push(guest), count=4)
    peak = before

    async def over() -> bool:
        nonlocal peak
        peak = max(peak, psutil.Process(worker.pid).memory_info().rss)
        return all(row["status"] in ("success", "retry") for row in await platform.tasks(tasks))

    await eventually(over, 60)

    assert (await sandbox.happened())["push bomb"] >= 1
    assert peak - before < MAX_GROWTH_MB * 2**20
