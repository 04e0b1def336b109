"""Tests that values which Postgres or its driver cannot take are refused with the name of their
field.
"""

from typing import Any

import pytest

from services.api.http import moments
from tests.integration.api.conftest import Client, Person
from tests.integration.api.console.browser import Browser

#: Times whose UTC value is before the year 1 and after the year 9999.
TOO_EARLY, TOO_LATE = "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-12:00"
TASK = {"name": "system.health_check", "params": {}, "delay_s": 3600}


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
