"""Tests that values which Postgres or its driver cannot take are refused with the name of their
field: times outside its years, numbers outside its integer types, and texts with NUL.
"""

from typing import Any

import pytest

from services.api.http import moments, paging
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser
from tests.integration.api.rights.belongings import WORKFLOW

#: Times whose UTC value is before the year 1 and after the year 9999.
TOO_EARLY, TOO_LATE = "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-12:00"
UNKNOWN = "00000000-0000-4000-8000-000000000000"
TASK = {"name": "system.health_check", "params": {}, "delay_s": 3600}


@pytest.fixture
async def workflow_id(administrator: Person) -> str:
    return str((await administrator.post("workflows", WORKFLOW)).json()["workflow_id"])


def errors(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 400, answer.text
    found: list[dict[str, str]] = answer.json()["errors"]
    return found


@pytest.mark.parametrize("moment", [TOO_EARLY, TOO_LATE])
async def test_a_time_that_does_not_exist_in_utc_is_refused_in_queries(
    administrator: Person, moment: str
) -> None:
    for path, field in (
        ("tasks", "completed_after"),
        ("operations/errors", "since"),
        ("audit", "since"),
        ("audit", "until"),
    ):
        answer = await administrator.get(path, **{field: moment})
        assert errors(answer) == [{"field": field, "rule": moments.RANGE_RULE}], path


@pytest.mark.parametrize("moment", [TOO_EARLY, TOO_LATE])
async def test_a_time_that_does_not_exist_in_utc_is_refused_in_bodies(
    administrator: Person, moment: str
) -> None:
    task_id = (await administrator.post("tasks", TASK)).json()["task_id"]
    task = {"name": "system.health_check", "params": {}}
    bulk = {"action": "cancel", "dry_run": True, "filter": {"created_after": moment}}
    backfill = {"from": moment, "to": moment}
    for send, path, body, fields in (
        (administrator.post, "tasks", {**task, "run_at": moment}, ["run_at"]),
        (
            administrator.post,
            "tasks/batch",
            {"tasks": [task, {**task, "run_at": moment}]},
            ["tasks[1].run_at"],
        ),
        (administrator.post, "tasks", {**task, "expires_at": moment}, ["expires_at"]),
        (administrator.patch, f"tasks/{task_id}", {"send_at": moment}, ["send_at"]),
        (administrator.patch, "operations/errors/v2:a", {"state": "muted", "until": moment}, ["until"]),
        (administrator.post, "schedules/sample.nightly/backfill", backfill, ["from"]),
        (administrator.post, "bulk", bulk, ["filter.created_after"]),
    ):
        found = errors(await send(path, body))
        assert found == [{"field": field, "rule": moments.RANGE_RULE} for field in fields], path


async def test_the_first_and_the_last_second_of_utc_are_accepted(administrator: Person) -> None:
    span = {"completed_after": "0001-01-01T00:00:00Z", "completed_before": "9999-12-31T23:59:59Z"}
    answer = await administrator.get("tasks", **span, created_after=span["completed_after"])
    assert answer.status_code == 200


async def test_the_console_names_a_time_that_does_not_exist_in_utc(
    client: Client, administrator: Person
) -> None:
    browser = Browser(client)
    await browser.sign_in(administrator)
    for page in ("tasks", "bulk/new", "tasks.csv"):
        answer = await browser.get(f"/console/{page}?action=cancel&completed_before={TOO_LATE}")
        assert (answer.status_code < 500, moments.RANGE_RULE in answer.text) == (True, True), page


@pytest.mark.parametrize("member", [-1, -(2**31), 2**31 - 1])
async def test_a_forged_cursor_of_members_is_a_position_like_any_other(
    administrator: Person, workflow_id: str, member: int
) -> None:
    path = f"workflows/{workflow_id}/steps/check/tasks"
    answer = await administrator.get(path, cursor=paging.encode_number(member, 4))
    assert (answer.status_code, len(answer.json()["items"])) == (200, 0 if member >= 0 else 1)


async def test_a_step_whose_name_contains_nul_is_refused(administrator: Person, workflow_id: str) -> None:
    answer = await administrator.get(f"workflows/{workflow_id}/steps/%00/tasks")
    assert [error["field"] for error in errors(answer)] == ["step"]


@pytest.mark.parametrize("number", [2**63, 99999999999999999999, 0])
async def test_the_console_finds_no_account_of_an_impossible_number(
    client: Client, administrator: Person, guest: Person, number: int
) -> None:
    browser = Browser(client)
    await browser.sign_in(administrator)
    token = await browser.token("/console/accounts", form=f"/console/accounts/{guest.id}")
    answer = await browser.post(f"/console/accounts/{number}", {"token": token, "role": "viewer"})
    assert (answer.status_code, f"There is no account {number}" in answer.text) == (404, True)


@pytest.mark.parametrize("value", ["%00", "a%00", str(2**63), "-1", "99999999999999999999", UNKNOWN])
async def test_no_value_in_a_path_makes_a_route_fail(
    administrator: Person, workflow_id: str, subtests: pytest.Subtests, value: str
) -> None:
    schema = (await administrator.get("schema/openapi.json")).json()
    for path, operations in schema["paths"].items():
        for method in operations.keys() & {"get", "delete"}:
            if "{" not in path or path.endswith("/events") or "schema" in path:
                continue
            with subtests.test(method=method, path=path):
                filled = path.replace("{workflow_id}", workflow_id)
                for name in {part[1:-1] for part in path.split("/") if part.startswith("{")}:
                    filled = filled.replace("{" + name + "}", value)
                answer = await administrator.client.request(method, filled, headers=administrator.headers)
                assert answer.status_code < 500


#: Forged cursors: the lowest and highest positions of each size, and texts.
CURSORS = [paging.encode(byte * size) for byte in (b"\xff", b"\x80", b"\x00") for size in (4, 8, 16, 30)]


async def test_no_forged_cursor_makes_a_route_fail(
    administrator: Person, workflow_id: str, subtests: pytest.Subtests
) -> None:
    schema = (await administrator.get("schema/openapi.json")).json()
    listed = {
        path.replace("{workflow_id}", workflow_id).replace("{step}", "check")
        for path, operations in schema["paths"].items()
        if any(each["name"] == "cursor" for each in operations.get("get", {}).get("parameters", ()))
    }
    assert len(listed) > 5
    for path in listed:
        for cursor in [*CURSORS, "\x00", "a\x00", "\ud7ff"]:
            with subtests.test(path=path, cursor=cursor):
                answer = await administrator.client.get(
                    path, params={"cursor": cursor}, headers=administrator.headers
                )
                assert answer.status_code < 500
