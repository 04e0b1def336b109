"""Tests of the routes for bulk operations, which act on all tasks that match a filter: preview,
start, read and stop.

Workers carry the operations out.
"""

import asyncio
import json
from typing import Any
from uuid import UUID

import pytest

from services.api.bulk import bulk_acts, counting
from services.worker.operations import chunk
from shared.ledger.database import Database
from shared.roles import WORKER
from shared.settings import Settings
from tests.integration.api.conftest import Person, SignUp, side_by_side
from tests.integration.api.rights.belongings import FAIL_STEP, WORKFLOW
from tests.roles import as_role

LATER = {"name": "system.health_check", "params": {}, "delay_s": 3600}
CANCEL: dict[str, Any] = {"action": "cancel", "filter": {"name": ["system.health_check"]}}
#: Makes the tasks with the ids $1 fail.
FAIL = """
    WITH failed AS (
        UPDATE task SET status = 'failure', send_at = NULL, sent_at = NULL, completed_at = now()
        WHERE id = ANY($1::uuid[]) RETURNING *
    )
    INSERT INTO task_failure (task_id, name, queue, owner, failed_at)
    SELECT id, name, queue, owner, completed_at FROM failed
"""
FINISH = "UPDATE workflow SET status = 'failure', completed_at = now() WHERE id <> $1"
NO_ACTS = "SELECT count(*) FROM task WHERE name <> 'operations.bulk' AND status = 'pending'"


@pytest.fixture
async def operator(sign_up: SignUp, database: Any) -> Person:
    person = await sign_up()
    await database.execute("UPDATE account SET role = 'operator' WHERE id = $1", person.id)
    return person


async def previewed(person: Person, asked: dict[str, Any]) -> dict[str, Any]:
    answer = await person.post("bulk", {**asked, "dry_run": True})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def started(person: Person, asked: dict[str, Any], **more: Any) -> dict[str, Any]:
    preview = await previewed(person, asked)
    body = {**asked, "token": preview["token"], "expected": preview["matches"], **more}
    answer = await person.post("bulk", body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def carried_out(database_url: str, bulk_id: str) -> dict[str, int]:
    """Carry out a bulk operation as a worker does, with the database role of workers.

    Returns the number of tasks by verdict.
    """
    worker = Database.for_tasks(as_role(database_url, WORKER), "test")
    await worker.open(size=1)
    try:
        while True:
            async with worker.transaction():
                did = await chunk.run(worker, UUID(bulk_id))
            assert did is not None
            if did.outcome is not None:
                return dict(did.sums)
    finally:
        await worker.close()


async def test_a_preview_counts_failed_tasks(guest: Person, operator: Person, database: Any) -> None:
    ids = [(await guest.post("tasks", LATER)).json()["task_id"] for _ in range(3)]
    await database.execute(FAIL, ids[:2])
    preview = await previewed(operator, {"action": "retry", "filter": {"status": ["failure"]}})
    assert (preview["matches"], preview["exact"]) == (2, True)
    assert [each["id"] for each in preview["sample"]] == [ids[1], ids[0]]


async def test_an_act_is_previewed_started_once_and_read(
    guest: Person, operator: Person, database: Any, database_url: str
) -> None:
    ids = [(await guest.post("tasks", LATER)).json()["task_id"] for _ in range(3)]
    asked = {
        **CANCEL,
        "filter": {**CANCEL["filter"], "owner": guest.id, "created_after": "2026-01-01T00:00:00Z"},
    }
    preview = await previewed(operator, asked)
    assert (preview["matches"], preview["exact"]) == (3, True)
    assert [each["id"] for each in preview["sample"]] == ids[::-1]
    assert await database.fetchval(NO_ACTS) == 3

    body = {**asked, "token": preview["token"], "expected": 3, "reason": "called off", "rate": 100}
    first, again = [(await operator.post("bulk", body)).json() for _ in range(2)]
    assert first == again
    shown = (await operator.get(f"bulk/{first['bulk_id']}")).json()
    assert (shown["state"], shown["filter"], shown["expected"]) == ("waiting", asked["filter"], 3)
    assert await carried_out(database_url, first["bulk_id"]) == {"done": 3, "skipped": 0, "refused": 0}
    assert await database.fetchval(NO_ACTS) == 0
    [listed] = (await operator.get("bulk")).json()["items"]
    assert (listed["state"], listed["done"], listed["reached"]) == ("completed", 3, listed["until"])
    assert (await operator.delete(f"bulk/{first['bulk_id']}")).status_code == 409
    rows = await database.fetch(
        "SELECT action, actor, reason FROM audit WHERE target_kind = 'bulk' ORDER BY id"
    )
    assert [row["action"] for row in rows] == ["bulk.started", "bulk.applied", "bulk.ended"]
    assert {(row["actor"], row["reason"]) for row in rows} == {(operator.id, "called off")}


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"filter": {}}, "filter"),
        ({"filter": {"params": {"user id": 7}}}, "filter.params.user id"),
        ({"filter": {"created_after": "yesterday"}}, "filter.created_after"),
        ({"filter": {"nothing": 1}}, "filter.nothing"),
        ({"action": "change"}, "changes"),
        ({"changes": {"priority": 3}}, "changes"),
        ({"kind": "workflow", "action": "release"}, "action"),
        ({"kind": "workflow", "filter": {"queue": ["default"]}}, "filter.queue"),
        ({"rate": 0}, "rate"),
    ],
)
async def test_an_act_names_the_rule_that_it_breaks(
    operator: Person, changed: dict[str, Any], field: str
) -> None:
    answer = await operator.post("bulk", {**CANCEL, **changed, "dry_run": True})
    assert answer.status_code == 400, answer.text
    assert [problem["field"] for problem in answer.json()["errors"]] == [field]


async def test_an_act_needs_the_token_of_its_very_preview_and_what_was_expected(
    operator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        await operator.post("tasks", LATER)
    monkeypatch.setattr(bulk_acts, "MAX_UNFINISHED", 1)
    preview = await previewed(operator, CANCEL)
    body = {**CANCEL, "token": preview["token"], "expected": 3}

    async def problem(**changed: Any) -> tuple[int, str]:
        answer = await operator.post("bulk", {**body, **changed})
        return answer.status_code, answer.json()["type"].rpartition(":")[2]

    assert await problem(token=None) == (400, "invalid-fields")
    assert await problem(action="retry") == (400, "invalid-fields")
    assert await problem(token=operator.headers["Authorization"].split()[1]) == (400, "invalid-fields")
    assert await problem(expected=2) == (409, "matches-moved")
    assert await problem(expected=4) == (409, "matches-moved")
    assert (await operator.post("bulk", body)).status_code == 202
    other = await previewed(operator, {**CANCEL, "filter": {"queue": ["default"]}})
    answer = await operator.post("bulk", {**body, "filter": {"queue": ["default"]}, "token": other["token"]})
    assert answer.json()["type"] == "urn:often:problem:too-many-bulk-operations"


@pytest.mark.parametrize(
    ("found", "is_exact", "expected", "was_exact", "differs"),
    [
        (109, True, 100, True, False),
        (111, True, 100, True, True),
        (91, True, 100, True, False),
        (89, True, 100, True, True),
        (10_000, False, 10_000, False, False),
        # An inexact count is a lower bound. It counts as changed only if the true number must be
        # above or below the expected one.
        (6_000, False, 2_000, False, False),
        (2_000, False, 6_000, False, False),
        (6_000, False, 2_000, True, True),
        (8_000, True, 10_000, False, True),
    ],
)
def test_matches_have_moved_when_they_differ_by_more_than_a_tenth(
    found: int, is_exact: bool, expected: int, was_exact: bool, differs: bool
) -> None:
    assert counting.Count(found, is_exact, []).differs_from(expected, was_exact=was_exact) == differs


async def test_users_cancel_their_own_and_viewers_nothing(
    guest: Person, operator: Person, sign_up: SignUp, database: Any
) -> None:
    await guest.post("tasks", LATER)
    await operator.post("tasks", LATER)
    assert (await previewed(guest, CANCEL))["matches"] == 1
    act = await started(guest, CANCEL)
    # The stored filter contains only the user's own tasks. This is decided when the operation
    # starts, even if the user gets a higher role later.
    assert json.loads(await database.fetchval("SELECT filter FROM bulk_act"))["owner"] == guest.id
    others = {**CANCEL, "filter": {"owner": operator.id}, "dry_run": True}
    assert (await guest.post("bulk", others)).status_code == 403
    refused = await guest.post("bulk", {**CANCEL, "action": "retry", "dry_run": True})
    assert refused.json()["type"] == "urn:often:problem:role-forbids"
    other = await sign_up()
    assert (await other.get(f"bulk/{act['bulk_id']}")).status_code == 404
    assert (await other.delete(f"bulk/{act['bulk_id']}")).status_code == 404
    await database.execute("UPDATE account SET role = 'viewer' WHERE id = $1", other.id)
    assert (await other.post("bulk", {**CANCEL, "dry_run": True})).status_code == 403
    assert (await other.get(f"bulk/{act['bulk_id']}")).status_code == 200


async def test_an_act_that_was_stopped_does_nothing_more(
    operator: Person, database: Any, database_url: str
) -> None:
    await operator.post("tasks", LATER)
    act = await started(operator, CANCEL)
    assert (await operator.delete(f"bulk/{act['bulk_id']}")).status_code == 202
    assert (await operator.get(f"bulk/{act['bulk_id']}")).json()["state"] == "stopped"
    task = await database.fetchval("SELECT status FROM task WHERE id = $1", UUID(act["task_id"]))
    assert task == "revoked"
    assert (await carried_out(database_url, act["bulk_id"]))["done"] == 0
    assert await database.fetchval(NO_ACTS) == 1


async def test_workflows_are_retried_and_canceled_by_filter(
    operator: Person, database: Any, database_url: str
) -> None:
    running, failed, finished = [
        UUID((await operator.post("workflows", WORKFLOW)).json()["workflow_id"]) for _ in range(3)
    ]
    for each in (failed, finished):
        await database.execute(FAIL_STEP, each)
    await database.execute(FINISH, running)
    await database.execute("UPDATE workflow_step SET handler = true WHERE workflow = $1", finished)
    asked = {"kind": "workflow", "action": "retry", "filter": {"name": ["checks"]}}
    act = await started(operator, asked)
    assert await carried_out(database_url, act["bulk_id"]) == {"done": 1, "skipped": 0, "refused": 1}
    refusals = await database.fetchval("SELECT refusals FROM bulk_act")
    assert json.loads(refusals) == {"handlers-ran": 1}
    events = await database.fetch("SELECT workflow, kind FROM workflow_event WHERE kind = 'mend'")
    assert [row["workflow"] for row in events] == [failed]

    act = await started(operator, {**asked, "action": "cancel"})
    assert (await carried_out(database_url, act["bulk_id"]))["done"] == 2
    canceled = await database.fetch("SELECT workflow FROM workflow_event WHERE kind = 'cancel'")
    assert {row["workflow"] for row in canceled} == {running, failed}


async def test_requests_at_once_do_not_exceed_the_limit_of_unfinished_acts(
    operator: Person, settings: Settings, database: Any
) -> None:
    await operator.post("tasks", LATER)
    bodies = [
        {**CANCEL, "token": (await previewed(operator, CANCEL))["token"], "expected": 1} for _ in range(8)
    ]
    async with side_by_side(settings) as operator.client:
        answers = await asyncio.gather(*[operator.post("bulk", body) for body in bodies])
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [202] * 5 + [409] * 3
        # A request that is sent again gets its first answer, although the limit is reached.
        first = answers[statuses.index(202)]
        assert (await operator.post("bulk", bodies[statuses.index(202)])).text == first.text
    assert await database.fetchval("SELECT count(*) FROM bulk_act") == 5


async def test_of_requests_at_once_with_one_token_one_starts_the_act(
    operator: Person, settings: Settings, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The limit is reached as soon as the first of these requests has started the operation.
    monkeypatch.setattr(bulk_acts, "MAX_UNFINISHED", 1)
    await operator.post("tasks", LATER)
    preview = await previewed(operator, CANCEL)
    body = {**CANCEL, "token": preview["token"], "expected": 1}
    async with side_by_side(settings) as operator.client:
        answers = await asyncio.gather(*[operator.post("bulk", body) for _ in range(8)])
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        for table in (
            "bulk_act",
            "task WHERE name = 'operations.bulk'",
            "audit WHERE action = 'bulk.started'",
        ):
            assert await database.fetchval(f"SELECT count(*) FROM {table}") == 1
