"""The book of transitions on the real schema: names, types, the one-place CHECK and the fence."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.ledger import partitions
from shared.ledger.lifecycle import FINAL
from shared.ledger.transitions import expire, operate, record, rescue, send
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing
from tests.unit.shared.test_transitions import BOOK

WORKER = """
    INSERT INTO worker (id, hostname, pid, queues, threads, lock_key)
    VALUES ({}, 'test', 1, '{{default}}', 8, {})
"""
RESCUE = {
    "limit": 10,
    "crash_limit": 3,
    "crash_loop": "crash_loop",
    "message": "it died",
    "worker_died": "worker_died",
}


@pytest.mark.parametrize("name", BOOK)
async def test_postgres_accepts_a_statement_and_takes_a_value_for_each_name(
    platform: Platform, name: str
) -> None:
    connection = await asyncpg.connect(platform.database_url)
    # The cleanup creates these partitions when it needs them first.
    for table in partitions.PARTITIONED:
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table}_kept (LIKE {table})")
    prepared = await connection.prepare(BOOK[name].sql)
    assert len(prepared.get_parameters()) == len(BOOK[name].names)
    await connection.close()


async def places(platform: Platform, task_id: UUID) -> tuple[str, set[str], int]:
    """Status, the places that the task is in, and its claim."""
    row = await platform.task(task_id)
    found = {place for place in ("send_at", "sent_at", "holder") if row[place] is not None}
    assert (row["completed_at"] is not None) == (row["status"] in FINAL) == (not found)
    return row["status"], found, row["claim"]


async def held(platform: Platform) -> tuple[UUID, UUID]:
    """A task and the worker that holds it under claim 1."""
    worker = uuid4()
    await platform.rows(WORKER, worker, worker.int >> 66)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    assert await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    return task_id, worker


def outcome(task_id: UUID, worker: UUID, *, claim: int) -> dict[str, Any]:
    """The values of COMPLETE."""
    now = datetime.now(UTC)
    times = {"started_at": now, "ended_at": now, "execution_s": 0.0}
    return {
        "id": task_id,
        "worker": worker,
        "claim": claim,
        "attempt": 1,
        "result": "{}",
        "key_id": None,
        **times,
    }


async def test_a_task_is_in_one_place_all_its_life(platform: Platform) -> None:
    task_id, worker = await held(platform)
    assert await places(platform, task_id) == ("pending", {"holder"}, 1)
    await platform.rows(send.GIVE_BACK_FORGOTTEN, id=[task_id], claim=[1], worker=worker)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 1)
    await platform.rows(send.MARK_SENT, id=[task_id], claim=[1])
    assert await places(platform, task_id) == ("pending", {"sent_at"}, 1)
    later = datetime.now(UTC) + timedelta(hours=1)
    lane = {"queue": INSTANT.queue, "priority": INSTANT.priority, "limit": 10}
    await platform.rows(send.LOST, before=later, suspects_before=None, **lane)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 1)
    await platform.rows(send.UNCLAIMED_TO_POSTGRES, id=[task_id])
    assert await places(platform, task_id) == ("pending", {"send_at"}, 2)
    await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    assert await places(platform, task_id) == ("pending", {"holder"}, 3)
    await platform.rows("UPDATE worker SET dead_at = now()")
    assert await platform.rows(rescue.RESCUE_FROM, workers=[worker], **RESCUE)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 4)
    await platform.rows("UPDATE task SET expires_at = now() - interval '1 s'")
    assert await platform.rows(expire.EXPIRE, limit=10, error_kind="expired", error_message="late")
    assert await places(platform, task_id) == ("failure", set(), 4)
    assert await platform.rows(operate.RETRY, id=task_id, reason="by hand", delay_s=None, **operate.UNEDITED)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 5)
    assert await platform.rows(operate.CANCEL, id=task_id)
    assert await places(platform, task_id) == ("revoked", set(), 5)


async def test_an_orphan_is_in_one_place_after_its_rescue(platform: Platform) -> None:
    task_id, _ = await held(platform)
    await platform.rows("DELETE FROM worker")
    assert await platform.rows(rescue.RESCUE_ORPHANS, **RESCUE)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 2)


async def test_only_the_holder_writes_and_only_under_its_claim(platform: Platform) -> None:
    task_id, worker = await held(platform)
    for wrong in ({"claim": 0}, {"claim": 2}, {"worker": uuid4()}):
        assert not await platform.rows(record.COMPLETE, **outcome(task_id, worker, claim=1) | wrong)
        forgotten = {"id": task_id, "claim": 1, "worker": worker} | wrong
        values = {"id": [task_id], "claim": [forgotten["claim"]], "worker": forgotten["worker"]}
        await platform.rows(send.GIVE_BACK_FORGOTTEN, **values)
        assert await places(platform, task_id) == ("pending", {"holder"}, 1)
    assert await platform.rows(record.COMPLETE, **outcome(task_id, worker, claim=1))
    assert await places(platform, task_id) == ("success", set(), 1)


async def test_a_worker_that_was_declared_dead_claims_nothing(platform: Platform) -> None:
    worker = uuid4()
    await platform.rows(WORKER, worker, worker.int >> 66)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.rows("UPDATE worker SET dead_at = now()")
    assert not await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    assert await places(platform, task_id) == ("pending", {"sent_at"}, 0)
