"""Tests that the tasks of a workflow step have consecutive ids, and that they are found by these ids
without reading other tasks.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any
from uuid import UUID

import msgspec
import pytest
from piccolo.query.methods.select import Select

from services.api.reads import IN_ORDER
from services.worker.workflows import inputs
from shared.ledger import partitions
from shared.ledger.database import Database
from shared.ledger.ids import FIRST_ID
from shared.ledger.statement import Statement
from shared.ledger.task_filter import TaskFilter
from shared.ledger.task_tables import Task
from shared.ledger.transitions import keep, retry
from shared.ledger.transitions import workflow as transitions
from tests.explain import explain
from tests.integration.workflows.crew import Crew
from tests.integration.workflows.plays import chord_of, play, submitter
from tests.old_days import add_day
from tests.platform import Platform

MEMBERS = 20
STEPS = "SELECT name, task, last_task FROM workflow_step WHERE workflow = {} ORDER BY position"
OTHERS = """
    INSERT INTO task (name, type, queue, params, status, completed_at)
    SELECT 'sample.instant', 'sample', 'default', jsonb_build_object(), 'success', now()
    FROM generate_series(1, 5000)
"""
#: Values of the statements that find the tasks of steps. `{workflow}` is replaced
#: by the id of a workflow.
OF_STEPS: dict[str, Any] = {"workflow": ["{workflow}"], "step": ["many"]}
BY_LEDGER: list[tuple[Statement, dict[str, Any]]] = [
    (transitions.CANCEL_MEMBERS, {**OF_STEPS, "limit": 10}),
    (transitions.NOTE_REST, OF_STEPS),
    (transitions.REPAIR, {"after": FIRST_ID, "still_s": 0, "limit": 10}),
    (retry.MEND, {**OF_STEPS, "limit": 10, "reason": "test"}),
    (retry.REPEAT, {**OF_STEPS, "reason": "test"}),
]
BY_OTHERS: list[tuple[Statement, dict[str, Any]]] = [
    (retry.TASKS_OF_STEPS, {"id": "{workflow}", "steps": ["many"]}),
    (inputs.MEMBERS, {"workflow": "{workflow}", "steps": ["many"]}),
    (inputs.TOO_LARGE, {"workflow": "{workflow}", "steps": ["many"], "limit": 1_000_000}),
]


async def ids_of(platform: Platform, workflow: UUID) -> dict[str, tuple[int | None, int | None]]:
    """The ids of the first and the last task of each step, as numbers."""
    rows = await platform.rows(STEPS, workflow)
    return {row["name"]: tuple(row[name] and row[name].int for name in ("task", "last_task")) for row in rows}


async def test_members_have_consecutive_ids_in_their_order(platform: Platform, crew: Crew) -> None:
    flows = [await submitter(platform).submit(chord_of(MEMBERS)) for _ in range(2)]
    for flow in flows:
        members = await crew.tasks(f"workflow = '{flow}'")
        first, last = (await ids_of(platform, flow))["many"]
        assert first is not None
        assert [(task["id"].int, task["member"]) for task in members] == [
            (first + number, number) for number in range(MEMBERS)
        ]
        assert last == members[-1]["id"].int
        assert {task["id"].version for task in members} == {7}


async def test_a_single_task_is_the_first_and_the_last_of_its_step(platform: Platform, crew: Crew) -> None:
    flow = await submitter(platform).submit(chord_of(2))
    assert (await ids_of(platform, flow))["body"] == (None, None)
    await play(crew)
    (body,) = await crew.tasks("step = 'body'")
    assert (await ids_of(platform, flow))["body"] == (body["id"].int, body["id"].int)


async def test_an_empty_group_has_no_ids(platform: Platform, crew: Crew) -> None:
    flow = await submitter(platform).submit(chord_of(0))
    await play(crew)
    assert (await ids_of(platform, flow))["many"] == (None, None)


async def test_the_migration_writes_the_last_task_of_single_tasks(platform: Platform, crew: Crew) -> None:
    flow = await submitter(platform).submit(chord_of(2))
    await play(crew)
    (body,) = await crew.tasks("step = 'body'")
    await platform.rows(
        "UPDATE workflow_step SET last_task = NULL, task = CASE name WHEN 'body' THEN task END"
    )
    migration = import_module("shared.ledger.migrations.ledger_2026_12_01t12_00_00_000000")
    await platform.rows(migration.LAST_TASKS)
    found = await ids_of(platform, flow)
    assert found == {"many": (None, None), "body": (body["id"].int, body["id"].int)}


@pytest.fixture
async def workflow(platform: Platform) -> UUID:
    """A workflow with a group of tasks among many other tasks, of today and of a past day."""
    await add_day(platform, 3, final=5_000)
    await platform.rows(OTHERS)
    for _ in range(3):
        flow = await submitter(platform).submit(chord_of(MEMBERS))
    await platform.rows("ANALYZE task")
    return flow


@pytest.mark.parametrize("by_index", [True, False], ids=["of the ledger", "of bodies and requests"])
async def test_members_are_found_by_the_primary_key(
    platform: Platform, workflow: UUID, *, by_index: bool
) -> None:
    database = Database.for_service(platform.database_url, "test", by_index=by_index)
    await database.open(size=1)
    try:
        for statement, values in BY_LEDGER if by_index else BY_OTHERS:
            given = {name: _filled(value, workflow) for name, value in values.items()}
            (row,) = await database.run(explain(statement, "ANALYZE, FORMAT JSON"), **given)
            await _check(platform, row["QUERY PLAN"], workflow)
    finally:
        await database.close()


async def test_the_tasks_of_a_workflow_are_listed_by_the_primary_key(
    platform: Platform, workflow: UUID
) -> None:
    wanted = TaskFilter(workflow=workflow)
    assert wanted.is_indexed
    query = wanted.apply(Task.select(Task.id, Task.params)).order_by(Task.id, ascending=False)
    assert len(await platform.rows(*_compiled(query.limit(2 * MEMBERS)))) == MEMBERS
    sql, *values = _compiled(query.limit(10))
    async with platform.database.transaction():
        for name, value in IN_ORDER.items():
            await platform.rows(f"SET LOCAL {name} = '{value}'")
        (row,) = await platform.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *values)
    await _check(platform, row["QUERY PLAN"], workflow)


async def test_the_tasks_that_a_day_keeps_are_found_by_the_primary_key(
    platform: Platform, workflow: UUID
) -> None:
    await platform.rows(
        "UPDATE task SET send_at = NULL, sent_at = NULL, completed_at = now(), status = 'success'"
    )
    async with platform.database.transaction():
        await platform.rows("SET LOCAL enable_seqscan = off")
        (first, _) = (await ids_of(platform, workflow))["many"]
        assert first is not None
        sql = keep.count("task", partitions.day_of_id(UUID(int=first)))
        (row,) = await platform.rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
    keys = [node for node in _scans(row["QUERY PLAN"]) if node["Index Name"].endswith("_pkey")]
    assert sum(map(_rows_read, keys)) == 3 * MEMBERS


def _filled(value: Any, workflow: UUID) -> Any:
    if isinstance(value, list):
        return [_filled(each, workflow) for each in value]
    return workflow if value == "{workflow}" else value


def _compiled(query: Select[Any]) -> list[Any]:
    text, values = query.default_querystrings[0].compile_string()
    return [text, *values]


async def _check(platform: Platform, plan: str, workflow: UUID) -> None:
    """Check that a plan has read only tasks of workflows, and only by the primary key."""
    (first, _) = (await ids_of(platform, workflow))["many"]
    assert first is not None
    today = partitions.partition_name("task", partitions.day_of_id(UUID(int=first)))
    scans = list(_scans(plan))
    assert {node["Relation Name"] for node in scans} == {today}
    for node in scans:
        assert node.get("Index Name") == f"{today}_pkey", node
        assert _rows_read(node) <= 3 * MEMBERS, node


def _scans(plan: str) -> Iterator[Mapping[str, Any]]:
    """Yield the nodes of a plan that have read rows of `task`."""
    waiting = [msgspec.json.decode(plan)[0]["Plan"]]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", [])
        if (
            node.get("Relation Name", "").startswith("task_p")
            and "Scan" in node["Node Type"]
            and _rows_read(node)
        ):
            yield node


def _rows_read(node: Mapping[str, Any]) -> float:
    return float(node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)))
