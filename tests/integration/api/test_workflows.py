"""Tests of workflows over HTTP: a request becomes a graph of steps, and an error names its place in
the request body.
"""

from typing import Any
from uuid import UUID

import pytest

from shared.ledger.database import Database
from shared.workflows.advance import advance
from tests.integration.api.conftest import Person

CHECK = {"task": "system.health_check", "params": {}}


def step(name: str, **more: Any) -> dict[str, Any]:
    return {"step": name, **CHECK, **more}


def workflow(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "checks", "steps": list(steps), **more}


MANY = {"step": "many", "task": CHECK["task"], "members": [{}] * 3, "needs": ["first"], "at_least": 2}
GRAPH = workflow(step("first"), MANY, step("mend", needs=["first", "many"], when="failed"), unique="7")

END = """
    UPDATE task SET status = $3, completed_at = now(), send_at = NULL, sent_at = NULL
    WHERE workflow = $1 AND step = $2
"""
EVENT = "INSERT INTO workflow_event (workflow, step, kind, failed) VALUES ($1, $2, 'ended', 1)"


async def fail(database: Any, workflow_id: str, name: str) -> None:
    await database.execute(END, UUID(workflow_id), name, "failure")
    await database.execute(EVENT, UUID(workflow_id), name)


async def advanced(url: str, workflow_id: str) -> None:
    """Apply the workflow's events, as the leading scheduler does."""
    database = Database.for_service(url, "test")
    await database.open(size=1)
    await advance(database, [UUID(workflow_id)])
    await database.close()


async def test_a_workflow_is_submitted_once_and_shows_its_graph(guest: Person) -> None:
    headers = {**guest.headers, "Idempotency-Key": "k"}
    answers = [await guest.client.post("/api/v1/workflows", json=GRAPH, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == answers[1].json()
    assert "Idempotent-Replayed" in answers[1].headers
    workflow_id = answers[0].json()["workflow_id"]
    again = await guest.post("workflows", GRAPH)
    assert (again.status_code, again.json()["type"]) == (409, "urn:often:problem:workflow-exists")
    assert workflow_id in again.json()["detail"]

    graph = (await guest.get(f"workflows/{workflow_id}")).json()
    assert (graph["status"], graph["owner"], graph["open_steps"]) == ("running", guest.id, 3)
    assert [(each["step"], each["state"], each["members"]) for each in graph["steps"]] == [
        ("first", "running", None),
        ("many", "waiting", 3),
        ("mend", "waiting", None),
    ]
    (task,) = (await guest.get(f"workflows/{workflow_id}/steps/first/tasks")).json()["items"]
    assert (task["workflow"], task["step"], task["id"]) == (
        workflow_id,
        "first",
        graph["steps"][0]["task_id"],
    )
    page = (await guest.get("workflows", status="running", name="checks")).json()
    assert [each["id"] for each in page["items"]] == [workflow_id]


async def test_members_and_workflows_come_in_pages(guest: Person) -> None:
    group = {"step": "many", "task": CHECK["task"], "members": [{}] * 5}
    ids = [(await guest.post("workflows", workflow(group))).json()["workflow_id"] for _ in range(3)]
    for path, key, expected in (
        (f"workflows/{ids[0]}/steps/many/tasks", "member", [0, 1, 2, 3, 4]),
        ("workflows", "id", ids[::-1]),
    ):
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await guest.get(path, limit=2, **cursor)).json()
            found += [item[key] for item in page["items"]]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == expected


@pytest.mark.parametrize(
    ("body", "field", "rule"),
    [
        (workflow({**step("a"), "task": "no.task"}), "steps[0].task", "must be one of"),
        (workflow(step("a", needs=["b"])), "steps[0].needs", "'b' is no step"),
        (workflow(step("a", params={"x": 1})), "steps[0].params.x", "step 'a': is unknown"),
        (workflow(step("a", params={"x": {"$from": "b.y"}})), "steps[0].params.x", "'b' is no step"),
        (workflow(step("a"), step("b", members=[{}])), "steps[1].params", "not both"),
        (workflow(step("a", when="at_least")), "steps[0].k", "must be given"),
        (workflow(step("a", needs=["b"]), step("b", needs=["a"])), "steps", "circle: a, b"),
    ],
)
async def test_a_refusal_names_its_place_in_the_body(guest: Person, body: Any, field: str, rule: str) -> None:
    answer = await guest.post("workflows", body)
    assert answer.status_code == 400
    problem = answer.json()["errors"][0]
    assert problem["field"] == field
    assert rule in problem["rule"]


async def test_a_step_is_only_for_accounts_that_its_caller_may_name(
    guest: Person, administrator: Person
) -> None:
    greet = {"step": "greet", "task": "sample.greet", "params": {"user_id": administrator.id}}
    assert (await guest.post("workflows", workflow(greet))).status_code == 403
    assert (await administrator.post("workflows", workflow(greet))).status_code == 202
    greet["params"] = {"user_id": 10**9}
    assert (await administrator.post("workflows", workflow(greet))).status_code == 422


async def test_a_canceled_workflow_ends_and_cannot_be_canceled_again(
    guest: Person, database_url: str
) -> None:
    workflow_id = (await guest.post("workflows", workflow(step("a"), step("b", needs=["a"])))).json()[
        "workflow_id"
    ]
    assert (await guest.delete(f"workflows/{workflow_id}")).status_code == 202
    for _ in range(2):
        await advanced(database_url, workflow_id)
    graph = (await guest.get(f"workflows/{workflow_id}")).json()
    assert (graph["status"], [each["state"] for each in graph["steps"]]) == (
        "revoked",
        ["revoked", "skipped"],
    )
    again = await guest.delete(f"workflows/{workflow_id}")
    assert (again.status_code, again.json()["type"]) == (409, "urn:often:problem:workflow-finished")


async def test_a_retry_names_handlers_that_have_run(
    guest: Person, administrator: Person, database: Any, database_url: str
) -> None:
    body = workflow(step("pay"), step("refund", needs=["pay"], when="failed"))
    workflow_id = (await guest.post("workflows", body)).json()["workflow_id"]
    nothing = await administrator.post(f"workflows/{workflow_id}/retry", None)
    assert (nothing.status_code, nothing.json()["type"]) == (409, "urn:often:problem:nothing-to-retry")
    await fail(database, workflow_id, "pay")
    await advanced(database_url, workflow_id)

    task_id = await database.fetchval("SELECT id FROM task WHERE step = 'pay'")
    for path in (f"workflows/{workflow_id}/retry", f"tasks/{task_id}/retry"):
        refused = await administrator.post(path, None)
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:often:problem:handlers-ran")
        assert "refund" in refused.json()["detail"]
    answer = await administrator.post(f"workflows/{workflow_id}/retry", {"handlers": "keep"})
    assert (answer.status_code, answer.json()["message"][:18]) == (202, "1 task runs again,")
    again = await administrator.post(f"workflows/{workflow_id}/retry", {"handlers": "keep"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:often:problem:workflow-retrying")
    await advanced(database_url, workflow_id)
    graph = (await guest.get(f"workflows/{workflow_id}")).json()
    assert [each["state"] for each in graph["steps"]] == ["running", "running"]
    assert (graph["status"], graph["run"]) == ("running", 2)
