"""Workflows that bodies begin: once for each task, whatever becomes of the attempt."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from shared.ledger.ids import uuid7
from shared.workflows.submission import Origin, WorkflowSubmitter
from tests.eventually import eventually
from tests.integration.workflows.test_running import finished
from tests.platform import Platform
from tests.starting_tasks import BEGIN, BEGIN_INSIDE, BEGIN_PLAINLY, Begins, begun

#: Three times what the design promises for a rescue.
RESCUE_LIMIT_S = 45


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
    """No scheduler runs: what is not pushed would not begin."""
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
    # The unique key is its own, also while the first workflow runs.
    (task_id,) = await platform.submit(BEGIN, Begins(troubled=2, unique="one"))
    await platform.until(task_id, "success")
    assert len(await workflows(platform, task_id)) == 1
    assert not await platform.rows("SELECT 1 FROM task_log WHERE task_id = {}", task_id)


async def test_of_many_that_begin_the_same_workflow_one_does(platform: Platform) -> None:
    """As two claims of one task may, while the first worker is taken for dead."""
    submitter = WorkflowSubmitter(platform.database, platform.submitter, platform.vault)
    flow_id, origin = uuid7(datetime.now(UTC)), Origin(parent=uuid4())
    stored = await asyncio.gather(*(submitter.submit_as(begun("one"), flow_id, origin) for _ in range(20)))
    assert sum(stored) == 1
    assert len(await platform.rows("SELECT 1 FROM workflow_step WHERE workflow = {}", flow_id)) == 2
    assert len(await platform.rows("SELECT 1 FROM task WHERE workflow = {}", flow_id)) == 1


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
