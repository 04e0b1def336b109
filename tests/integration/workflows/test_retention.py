"""Tests that the tasks of a workflow are kept until it has ended, however old they are, and are
then removed with it.
"""

from uuid import UUID, uuid4

from tests.old_days import add_day, clean, count, states
from tests.platform import Platform
from tests.workflow_rows import ADD_STEPS

WORKFLOW = """
    INSERT INTO workflow (id, name, status, open_steps, completed_at)
    VALUES ({}, 'old', CASE WHEN {} THEN 'success' ELSE 'running' END, 0,
            CASE WHEN {} THEN now() - interval '31 days' END)
"""


async def add_workflow(platform: Platform, *, ended: bool, tasks: int) -> UUID:
    """Add a workflow with one step, and assign to it the first of the tasks that belong to no
    workflow.
    """
    workflow = uuid4()
    await platform.rows(WORKFLOW, workflow, ended, ended)
    await platform.rows(
        "UPDATE task SET workflow = {}, step = 'first' WHERE id IN "
        "(SELECT id FROM task WHERE workflow IS NULL ORDER BY id LIMIT {})",
        workflow,
        tasks,
    )
    await platform.rows(ADD_STEPS)
    return workflow


async def test_results_of_an_unfinished_workflow_outlive_their_day(platform: Platform) -> None:
    await add_day(platform, 50, final=9)
    running = await add_workflow(platform, ended=False, tasks=2)
    await add_workflow(platform, ended=True, tasks=3)
    result = await clean(platform)
    assert (result.tasks_deleted, await states(platform, 50)) == (7, {})
    assert [row["workflow"] for row in await platform.rows("SELECT workflow FROM task_kept")] == [running] * 2
    assert [row["id"] for row in await platform.rows("SELECT id FROM workflow")] == [running]
    await platform.rows("UPDATE task SET completed_at = now() - interval '40 days'")
    assert (await clean(platform)).tasks_deleted == 0
    await platform.rows("UPDATE workflow SET status = 'success', completed_at = now() - interval '31 days'")
    assert (await clean(platform)).tasks_deleted == 2
    assert await count(platform, "workflow") == await count(platform, "task") == 0
