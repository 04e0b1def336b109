"""Tests of workflows that a task's body starts: each is started once for the task, whatever happens
to its attempts.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.ledger.ids import uuid7
from shared.workflows.submission import Origin
from tests.eventually import eventually
from tests.integration.workflows.plays import finished, submitter
from tests.platform import Platform
from tests.starting_tasks import BEGIN, BEGIN_INSIDE, BEGIN_PLAINLY, Begins, begun

#: Seconds until a rescue must have happened. The design promises a third of that.
RESCUE_LIMIT_S = 45


#: Inserts a workflow with this id that has ended already, as if another process had stored it.
ENDED = """
    INSERT INTO workflow (id, name, status, on_failure, deadline_s, deadline_at, open_steps, completed_at)
    VALUES ($1, 'begun', 'success', 'go_on', 1, now(), 0, now())
"""
BLOCKED = """
    SELECT 1 FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND datname = current_database() AND query LIKE '%workflow_key%'
"""


async def workflows(platform: Platform, parent: UUID) -> list[dict[str, Any]]:
    return await platform.rows("SELECT * FROM workflow WHERE parent = {} ORDER BY id", parent)


async def test_a_body_that_was_killed_after_its_start_has_begun_one_workflow(platform: Platform) -> None:
    await platform.start_scheduler()
    worker = await platform.start_worker()
    (task_id,) = await platform.submit(BEGIN, Begins(troubled=1, wait_s=60), owner=7)
    (flow,) = await eventually(lambda: workflows(platform, task_id))
    await finished(platform, flow["id"])
    worker.kill()
    await platform.start_worker()

    row = await platform.until(task_id, "success", timeout_s=RESCUE_LIMIT_S)

    assert row["attempt"] == 2
    (again,) = await workflows(platform, task_id)
    assert (again["id"], again["status"], again["owner"]) == (flow["id"], "success", 7)
    tasks = await platform.rows("SELECT owner FROM task WHERE workflow = {}", flow["id"])
    assert [task["owner"] for task in tasks] == [7, 7]


async def test_the_first_tasks_are_pushed_at_once(platform: Platform) -> None:
    """No scheduler runs, so the first tasks would never begin if the worker did not push them."""
    await platform.start_worker()
    for contract, count in ((BEGIN, 3), (BEGIN_INSIDE, 1), (BEGIN_PLAINLY, 1)):
        (task_id,) = await platform.submit(contract, Begins(flows=3))
        await platform.until(task_id, "success")
        begun = await workflows(platform, task_id)
        assert len(begun) == count
        for flow in begun:
            assert (await finished(platform, flow["id"]))["status"] == "success"


async def test_an_attempt_that_fails_repeats_no_start(platform: Platform) -> None:
    await platform.start_scheduler()
    await platform.start_worker()
    # The second attempt starts the workflow again and does not fail, because the unique key belongs
    # to this very workflow.
    (task_id,) = await platform.submit(BEGIN, Begins(troubled=2, unique="one"))
    await platform.until(task_id, "success")
    assert len(await workflows(platform, task_id)) == 1
    assert not await platform.rows("SELECT 1 FROM task_log WHERE task_id = {}", task_id)


async def test_of_many_that_begin_the_same_workflow_one_does(platform: Platform) -> None:
    """If a task's first worker is wrongly declared dead, two attempts may start the same workflow
    at the same time.
    """
    flow_id, origin = uuid7(datetime.now(UTC)), Origin(parent=uuid4())
    stored = await asyncio.gather(
        *(submitter(platform).submit_as(begun("one"), flow_id, origin) for _ in range(20))
    )
    assert sum(stored) == 1
    assert len(await platform.rows("SELECT 1 FROM workflow_step WHERE workflow = {}", flow_id)) == 2
    assert len(await platform.rows("SELECT 1 FROM task WHERE workflow = {}", flow_id)) == 1


async def test_no_unique_key_is_left_of_a_workflow_that_another_process_has_stored(
    platform: Platform,
) -> None:
    """The other process' workflow ended, and released its unique key, while the slower process was
    still storing the same workflow.
    """
    flow_id = uuid7(datetime.now(UTC))
    connection = await platform.database.connect()
    async with connection.transaction():
        await connection.execute(ENDED, flow_id)
        storing = asyncio.create_task(submitter(platform).submit_as(begun("one"), flow_id, Origin()))
        await eventually(lambda: platform.rows(BLOCKED))
    await connection.close()
    assert not await storing
    assert not await platform.rows("SELECT 1 FROM workflow_key")


async def test_a_start_inside_a_transaction_is_rolled_back_with_it(platform: Platform) -> None:
    await platform.start_scheduler()
    await platform.start_worker()
    (task_id,) = await platform.submit(BEGIN_INSIDE, Begins(troubled=1, wait_s=0.2))
    await platform.until(task_id, "retry")
    assert not await workflows(platform, task_id)
    await platform.until(task_id, "success")
    (flow,) = await workflows(platform, task_id)
    await finished(platform, flow["id"])


async def test_a_unique_key_that_another_workflow_has_is_refused_in_the_body(platform: Platform) -> None:
    await platform.start_worker()
    (task_id,) = await platform.submit(BEGIN, Begins(flows=2, unique="one"))
    await platform.until(task_id, "success")
    assert len(await workflows(platform, task_id)) == 1
    (line,) = await platform.rows("SELECT message FROM task_log WHERE task_id = {}", task_id)
    assert "an unfinished workflow 'begun' has the key 'one'" in line["message"]
