"""Tests of workflows with real workers: results reach the steps that need them, and failures are
handled.
"""

from uuid import UUID

from shared.contracts.contract import Contract
from shared.ledger.transitions.workflow import REQUEST_CANCEL
from shared.workflows.reference import PREVIOUS
from shared.workflows.shapes import chain, chord, group
from shared.workflows.workflow import ALWAYS, Workflow
from tests.eventually import eventually
from tests.integration.workflows.plays import finished, results, submit
from tests.platform import Platform
from tests.sample_tasks import (
    ADD,
    COUNT,
    FAIL,
    INSTANT,
    PAY,
    REPORT,
    SPAWN,
    WAIT_ASYNC,
    Done,
    Fails,
    Nothing,
    Number,
    Numbers,
    Outcomes,
    Pay,
    Seconds,
    Spawns,
)


def chord_of(numbers: range) -> Workflow:
    flow = Workflow("chord")
    one = flow.step(COUNT, Number(value=7), name="one")
    many = flow.group(COUNT, [Number(value=number) for number in numbers], name="many")
    body = flow.step(ADD, Numbers(values=PREVIOUS), name="body")
    chain(flow.step(INSTANT, Nothing(), name="begin"), chord(group(one, many), body))
    flow.step(COUNT, Number(value=body.result.value), name="last")
    return flow


async def test_a_chord_joins_results_in_order_and_passes_them_on(platform: Platform) -> None:
    await platform.start_worker()
    workflow = await submit(platform, chord_of(range(1, 6)))
    assert (await finished(platform, workflow))["status"] == "success"
    assert (await results(platform, workflow))["last"] == {"value": 712345}


async def test_a_step_that_waits_in_its_lane_is_marked_by_the_worker_that_pushed_it(
    platform: Platform,
) -> None:
    """No scheduler runs in this test.

    After three seconds it would send the step's task and mark it as sent itself.
    """
    await platform.start_worker()
    flow = Workflow("two_queues")
    elsewhere = Contract(name="sample.elsewhere", queue="elsewhere", params=Nothing, result=Done)
    chain(flow.step(INSTANT, Nothing()), flow.step(elsewhere, Nothing()))
    await submit(platform, flow)

    async def is_marked() -> bool:
        return bool(
            await platform.rows("SELECT 1 FROM task WHERE queue = 'elsewhere' AND sent_at IS NOT NULL")
        )

    assert await eventually(is_marked)


async def test_the_leader_advances_what_no_worker_did(platform: Platform) -> None:
    """A scheduler's statement ends the tasks, because they have expired.

    The scheduler that runs it does not advance their workflow, so the leader's sweep must.
    """
    workflow = await submit(platform, chord_of(range(2)))
    await platform.start_scheduler()
    await platform.rows("UPDATE task SET expires_at = now() - interval '1 s'")
    assert (await finished(platform, workflow))["status"] == "failure"
    steps = await platform.rows("SELECT name, state FROM workflow_step WHERE workflow = {}", workflow)
    assert {row["name"]: row["state"] for row in steps} == {
        "begin": "failure",
        **dict.fromkeys(("one", "many", "body", "last"), "skipped"),
    }
    assert not await platform.rows("SELECT 1 FROM workflow_event")


async def test_a_handler_gets_the_outcomes_of_what_failed(platform: Platform) -> None:
    await platform.start_worker()
    flow = Workflow("handled")
    fine = flow.step(INSTANT, Nothing(), name="fine")
    bad = flow.step(FAIL, Fails(kind="permanent"), name="bad", after=[fine])
    never = flow.step(INSTANT, Nothing(), name="never", after=[bad])
    told = Outcomes(outcomes=[fine.outcome, bad.outcome, never.outcome])
    flow.on_failure(REPORT, told, name="repair")
    flow.step(REPORT, told, name="clean", when=ALWAYS)
    workflow = await submit(platform, flow)
    assert (await finished(platform, workflow))["status"] == "failure"
    found = await results(platform, workflow)
    assert found["clean"] == {"statuses": ["success", "failure", "skipped"], "attempt": 1}
    assert found["repair"]["statuses"][:2] == ["success", "failure"]


async def test_a_sealed_result_reaches_a_parameter_and_is_stored_nowhere_else(platform: Platform) -> None:
    process = await platform.start_worker()
    await platform.start_scheduler()  # each first attempt fails, and the scheduler sends the retries
    flow = Workflow("paid")
    first = flow.step(PAY, Pay(card="4111-1111"), name="first")
    flow.step(PAY, Pay(card=first.result.receipt), name="second")
    workflow = await submit(platform, flow)
    assert (await finished(platform, workflow))["status"] == "success"
    stored = await platform.rows(
        "SELECT to_jsonb(t)::text AS row FROM task AS t UNION ALL SELECT message FROM task_log "
        "UNION ALL SELECT to_jsonb(s)::text FROM workflow_step AS s"
    )
    assert not [row for row in stored if "4111-1111" in row["row"]]
    assert "4111-1111" not in platform.log_of(process)
    (row,) = await platform.rows("SELECT id, result FROM task WHERE step = 'second'")
    opened = platform.vault.open_result(PAY, row["result"], UUID(int=row["id"].int), None)
    assert opened == {"receipt": "paid with paid with 4111-1111"}


async def test_canceling_a_workflow_reaches_the_task_that_runs(platform: Platform) -> None:
    await platform.start_worker()
    await platform.start_scheduler()
    flow = Workflow("canceled")
    slow = flow.step(WAIT_ASYNC, Seconds(seconds=60), name="slow")
    flow.step(INSTANT, Nothing(), name="never", after=[slow])
    flow.step(INSTANT, Nothing(), name="clean", after=[slow], when=ALWAYS)
    workflow = await submit(platform, flow)
    (task,) = await platform.rows("SELECT id FROM task")
    await platform.until(task["id"], "started")
    assert await platform.rows(REQUEST_CANCEL, id=workflow)
    assert (await finished(platform, workflow))["status"] == "revoked"
    steps = await platform.rows("SELECT name, state FROM workflow_step")
    assert {row["name"]: row["state"] for row in steps} == {
        "slow": "revoked",
        "never": "skipped",
        "clean": "success",
    }


async def test_children_of_members_are_no_members_and_exist_when_the_next_step_begins(
    platform: Platform,
) -> None:
    await platform.start_worker()
    flow = Workflow("children")
    many = flow.group(SPAWN, [Spawns(children=2)] * 3, name="many")
    flow.step(INSTANT, Nothing(), name="next", after=[many])
    workflow = await submit(platform, flow)
    assert (await finished(platform, workflow))["status"] == "success"
    (found,) = await platform.rows(
        "SELECT count(*) AS children, count(c.workflow) AS members, bool_and(c.created_at <= n.created_at) "
        "AS before FROM task AS c, task AS n WHERE c.parent IS NOT NULL AND n.step = 'next'"
    )
    assert found == {"children": 6, "members": 0, "before": True}
    steps = await platform.rows("SELECT succeeded FROM workflow_step ORDER BY position")
    assert [row["succeeded"] for row in steps] == [3, 1]
