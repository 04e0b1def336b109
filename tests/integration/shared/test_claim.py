"""Tests that a claim keeps its number when it is repeated because its answer was late."""

import asyncio
from uuid import uuid4

import asyncpg

from shared.ledger.transitions.send import CLAIM
from tests.eventually import eventually
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

WORKER = "INSERT INTO worker (id, hostname, pid, queues, threads, lock_key) VALUES ({}, 'test', 1, {}, 8, {})"
WAITING = """
    SELECT count(*) AS n FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_claim_repeated_because_its_answer_was_late_keeps_its_number(platform: Platform) -> None:
    worker = uuid4()
    await platform.rows(WORKER, worker, ["default"], worker.int >> 66)
    (task_id,) = await platform.submit(INSTANT, Nothing())

    async def waiting(count: int) -> bool:
        return bool((await platform.rows(WAITING))[0]["n"] == count)

    # Another session locks the task's row until the worker gives up waiting and repeats its claim.
    connection = await asyncpg.connect(platform.database_url)
    async with connection.transaction():
        await connection.execute("SELECT 1 FROM task WHERE id = $1 FOR UPDATE", task_id)
        claims = [asyncio.create_task(platform.rows(CLAIM, worker=worker, id=[task_id])) for _ in range(2)]
        await eventually(lambda: waiting(2))
    await connection.close()
    numbers = [row["claim"] for rows in await asyncio.gather(*claims) for row in rows]
    assert numbers == [1, 1]
    assert (await platform.task(task_id))["claim"] == 1
