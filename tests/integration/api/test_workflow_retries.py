"""Tests of workflow retries over HTTP, with real workers.

The tests count how often each task body runs.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest
from litestar.testing import AsyncTestClient

from services.api import app
from shared.contracts import catalogue
from shared.contracts.catalogue import Catalogue
from shared.settings import Settings
from tests.eventually import eventually
from tests.installed import INSTALLED
from tests.integration.api.conftest import GREET, Client, Person
from tests.platform import Platform
from tests.sample_tasks import TASKS

SECRET = "4111-1111"


def tally(step: str, value: Any, limit: int, *needs: str) -> dict[str, Any]:
    params = {"value": value, "limit": limit, "secret": "abc"}
    return {"step": step, "task": "sample.tally", "params": params, "needs": needs}


#: Steps of a workflow whose second step fails, so that the steps that need it are skipped.
MANY = {"step": "many", "task": "sample.tally", "members": [{"value": 1, "limit": 9}] * 2}
STEPS = [
    tally("first", 1, 9),
    tally("beside", 5, 9, "first"),
    tally("second", {"$from": "first.value"}, 0),
    tally("third", {"$from": "second.value"}, 99),
    {**MANY, "needs": ["second"]},
]


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    """A client of an API that knows the sample worker's contracts, too."""
    samples = [task.contract for task in TASKS.values()]
    contracts = Catalogue([*catalogue.load(INSTALLED).by_name.values(), GREET, *samples])
    async with AsyncTestClient(app.build(settings, contracts)) as client:
        yield client


@pytest.fixture
async def effects(platform: Platform) -> None:
    await platform.rows("CREATE TABLE effect (task_id uuid)")
    await platform.rows("GRANT INSERT ON effect TO often_worker")


async def ended(person: Person, workflow_id: str) -> dict[str, Any]:
    """Wait until the workflow has ended. Returns its graph."""

    async def found() -> dict[str, Any] | None:
        graph: dict[str, Any] = (await person.get(f"workflows/{workflow_id}")).json()
        return graph if graph["completed_at"] else None

    return await eventually(found)


async def executions(platform: Platform) -> Counter[str]:
    """Number of times that the body of each step has run, by the step's name."""
    rows = await platform.rows("SELECT t.step FROM effect AS e JOIN task AS t ON t.id = e.task_id")
    return Counter(row["step"] for row in rows)


def fields(answer: Any) -> list[str]:
    assert answer.status_code == 400, answer.text
    return [each["field"] for each in answer.json()["errors"]]


async def test_a_failed_step_is_edited_and_resumed_and_only_what_is_below_runs_again(
    platform: Platform, effects: None, administrator: Person
) -> None:
    await platform.start_worker()
    await platform.start_scheduler()
    workflow_id = (await administrator.post("workflows", {"name": "counted", "steps": STEPS})).json()[
        "workflow_id"
    ]
    graph = await ended(administrator, workflow_id)
    assert [each["state"] for each in graph["steps"]] == [
        "success",
        "success",
        "failure",
        "skipped",
        "skipped",
    ]

    path = f"workflows/{workflow_id}/retry"
    edit = {"mode": "from", "step": "second", "reason": "the limit was wrong"}
    assert fields(await administrator.post(path, {**edit, "params": {"limit": "9"}})) == ["params.limit"]
    assert fields(await administrator.post(path, {**edit, "params": {"most": 9}})) == ["params.most"]
    new_edge = {"value": {"$from": "beside.value"}}
    assert fields(await administrator.post(path, {**edit, "params": new_edge})) == ["params.value"]
    answer = await administrator.post(path, {**edit, "params": {"limit": 99, "secret": SECRET}})
    assert answer.status_code == 202, answer.text

    graph = await ended(administrator, workflow_id)
    assert (graph["status"], graph["run"]) == ("success", 2)
    counted = {"first": 1, "beside": 1, "second": 2, "third": 1, "many": 2}
    assert await executions(platform) == counted
    tasks = {each["step"]: each["task_id"] for each in graph["steps"]}
    result = (await administrator.get(f"tasks/{tasks['second']}/result")).json()["result"]
    assert result == {"value": 4 + len(SECRET)}, "the reference stayed, and the secret reached the body"
    attempts = (await administrator.get(f"tasks/{tasks['second']}/attempts")).json()
    assert [each["outcome"] for each in attempts] == ["failure", "success"]
    (row,) = await platform.rows(
        "SELECT after, reason, (to_jsonb(a) || to_jsonb(t) || to_jsonb(s))::text AS stored "
        "FROM audit AS a, task AS t, workflow_step AS s "
        "WHERE a.action = 'workflow.retried' AND t.step = 'second' AND s.name = 'second'"
    )
    assert msgspec.json.decode(row["after"]) == {
        "mode": "from",
        "step": "second",
        "params": ["limit", "secret"],
        "handlers": None,
        "tasks": 1,
    }
    assert row["reason"] == "the limit was wrong"
    assert SECRET not in row["stored"]

    await administrator.post(path, {"mode": "from", "step": "first", "handlers": "keep"})
    graph = await ended(administrator, workflow_id)
    assert (graph["status"], graph["run"]) == ("success", 3)
    twice = {"first": 2, "beside": 2, "second": 3, "third": 2, "many": 4}
    assert await executions(platform) == twice, "also those that had succeeded, and each member once"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"mode": "from"}, "step"),
        ({"mode": "all", "step": "first"}, "step"),
        ({"mode": "failed", "params": {}}, "params"),
        ({"mode": "from", "step": "zeroth"}, "step"),
        ({"mode": "from", "step": "many", "params": {"limit": 1}}, "params"),
        ({"mode": "from", "step": "greet", "params": {"user_id": 10**6}}, "params.user_id"),
        ({"mode": "some"}, "mode"),
        ({"handlers": "maybe"}, "handlers"),
    ],
)
async def test_a_refused_retry_names_the_field_and_changes_nothing(
    administrator: Person, database: Any, body: dict[str, Any], field: str
) -> None:
    greet = {"step": "greet", "task": "sample.greet", "params": {"user_id": administrator.id}}
    steps = [STEPS[0], MANY, greet]
    submitted = await administrator.post("workflows", {"name": "checks", "steps": steps})
    workflow_id = submitted.json()["workflow_id"]
    assert fields(await administrator.post(f"workflows/{workflow_id}/retry", body)) == [field]
    assert await database.fetchval("SELECT count(*) FROM workflow_event") == 0
    assert await database.fetchval("SELECT run FROM workflow WHERE id = $1", UUID(workflow_id)) == 1


async def test_a_workflow_task_is_retried_with_a_choice_about_handlers(
    administrator: Person, database: Any
) -> None:
    steps = [tally("pay", 1, 9), {**tally("refund", 1, 9, "pay"), "when": "failed"}]
    submitted = await administrator.post("workflows", {"name": "paid", "steps": steps})
    workflow_id = UUID(submitted.json()["workflow_id"])
    await database.execute(
        "UPDATE task SET status = 'failure', completed_at = now(), send_at = NULL, sent_at = NULL"
    )
    await database.execute(
        "UPDATE workflow_step SET started_at = now(), state = CASE name WHEN 'pay' THEN 'failure' "
        "ELSE 'success' END, failed = (name = 'pay')::int, succeeded = (name = 'refund')::int"
    )
    await database.execute(
        "INSERT INTO task SELECT (jsonb_populate_record(t, jsonb_build_object("
        "'id', uuidv7(), 'step', 'refund', 'status', 'success'))).* FROM task AS t"
    )
    await database.execute(
        "UPDATE workflow_step AS s SET task = t.id, last_task = t.id FROM task AS t WHERE t.step = s.name"
    )
    await database.execute("UPDATE workflow SET status = 'failure', completed_at = now(), open_steps = 0")
    task_id = await database.fetchval("SELECT id FROM task WHERE step = 'pay'")
    path = f"tasks/{task_id}/retry"
    assert "refund" in (await administrator.post(path, None)).json()["detail"]
    answer = await administrator.post(path, {"handlers": "again", "reason": "the bank is back"})
    assert answer.status_code == 202, answer.text
    events = await database.fetch("SELECT step, kind FROM workflow_event ORDER BY kind")
    assert [tuple(row) for row in events] == [("pay", "reopened"), ("refund", "repeat")]
    flow = await database.fetchrow("SELECT status, run FROM workflow WHERE id = $1", workflow_id)
    assert tuple(flow) == ("running", 2)
    row = await database.fetchrow("SELECT after, reason FROM audit WHERE action = 'task.retried'")
    assert (msgspec.json.decode(row["after"])["handlers"], row["reason"]) == ("again", "the bank is back")
