"""Tests every statement that changes a task, on the real schema: its names and types, the CHECK
that a task has one place, and the fence against old claims.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from shared.backlog import BEGINNING
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


async def test_postgres_accepts_each_statement_and_takes_a_value_for_each_name(platform: Platform) -> None:
    connection = await asyncpg.connect(platform.database_url)
    # Create the kept partitions, because some statements name them and only the cleanup would
    # create them.
    for table in partitions.PARTITIONED:
        await connection.execute(f"CREATE TABLE IF NOT EXISTS {table}_kept (LIKE {table})")
    wrong = {}
    for name, statement in BOOK.items():
        try:
            taken = len((await connection.prepare(statement.sql)).get_parameters())
        except asyncpg.PostgresError as error:
            wrong[name] = repr(error)
        else:
            if taken != len(statement.names):
                wrong[name] = f"takes {taken} values for {statement.names}"
    await connection.close()
    assert not wrong


async def places(platform: Platform, task_id: UUID) -> tuple[str, set[str], int]:
    """The task's status, the columns that say where it is, and the number of its claim."""
    row = await platform.task(task_id)
    found = {place for place in ("send_at", "sent_at", "holder") if row[place] is not None}
    assert (row["completed_at"] is not None) == (row["status"] in FINAL) == (not found)
    return row["status"], found, row["claim"]


async def held(platform: Platform) -> tuple[UUID, UUID]:
    """Create a task, and a worker that has claimed it. The claim's number is 1."""
    worker = uuid4()
    await platform.rows(WORKER, worker, worker.int >> 66)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    assert await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    return task_id, worker


def outcome(task_id: UUID, worker: UUID, *, claim: int) -> dict[str, Any]:
    """Values for the statement COMPLETE, which records that a task has succeeded."""
    now = datetime.now(UTC)
    times = {"started_at": now, "ended_at": now, "execution_s": 0.0}
    return {
        "id": task_id,
        "worker": worker,
        "claim": claim,
        "attempt": 1,
        "result": "{}",
        "key_id": None,
        "trace_context": None,
        **times,
    }


async def test_a_task_is_always_in_exactly_one_place(platform: Platform) -> None:
    task_id, worker = await held(platform)
    assert await places(platform, task_id) == ("pending", {"holder"}, 1)
    await platform.rows(send.GIVE_BACK_FORGOTTEN, id=[task_id], claim=[1], worker=worker)
    assert await places(platform, task_id) == ("pending", {"send_at"}, 1)
    await platform.rows(send.MARK_SENT, id=[task_id], claim=[1])
    assert await places(platform, task_id) == ("pending", {"sent_at"}, 1)
    later = datetime.now(UTC) + timedelta(hours=1)
    lane = {"queue": INSTANT.queue, "priority": INSTANT.priority, "limit": 10}
    await platform.rows(send.LOST, after=[BEGINNING], before=[later], suspects_before=None, **lane)
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


async def test_an_orphan_is_in_exactly_one_place_after_its_rescue(platform: Platform) -> None:
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


@pytest.mark.parametrize("end", ["dead_at", "stopped_at"])
async def test_a_worker_that_has_ended_claims_nothing(platform: Platform, end: str) -> None:
    worker = uuid4()
    await platform.rows(WORKER, worker, worker.int >> 66)
    (task_id,) = await platform.submit(INSTANT, Nothing())
    await platform.rows(f"UPDATE worker SET {end} = now()")
    assert not await platform.rows(send.CLAIM, worker=worker, id=[task_id])
    assert await places(platform, task_id) == ("pending", {"sent_at"}, 0)
