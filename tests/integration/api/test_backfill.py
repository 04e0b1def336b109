"""Tests of backfills: they submit tasks for the missing fire times of a schedule, and no task
twice.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.api.schedules import backfills
from tests.integration.api.conftest import Person
from tests.integration.api.test_schedules import broken, make, moment

PATH = "schedules/sample.nightly/backfill"


def span(days: int) -> dict[str, Any]:
    now = datetime.now(UTC)
    return {"from": (now - timedelta(days=days)).isoformat(), "to": now.isoformat()}


async def test_a_backfill_submits_what_is_missing_and_nothing_twice(operator: Person, database: Any) -> None:
    await make(operator, enabled=False)
    week = span(7)
    preview = (await operator.post(PATH, {**week, "dry_run": True})).json()
    times = [moment(each["fire_time"]) for each in preview["times"]]
    assert (len(times), preview["number"]) == (7, 7)
    # Since the preview, the scheduler has submitted tasks for the first and third fire time, and
    # skipped the second. The backfill must not submit tasks for the first and third again.
    await database.executemany(
        "INSERT INTO schedule_firing (schedule, fire_time, outcome) VALUES ('sample.nightly', $1, $2)",
        [(times[0], "submitted"), (times[1], "skipped_misfire"), (times[2], "submitted")],
    )

    answer = await operator.post(PATH, {**week, "reason": "the scheduler was away"})
    assert answer.status_code == 202
    shown = answer.json()
    fired = [each["fired_already"] for each in shown["times"]]
    assert (fired, shown["number"]) == ([True, False, True, *[False] * 4], 5)
    rows = await database.fetch(
        "SELECT id::text, fire_time FROM task WHERE schedule = 'sample.nightly' ORDER BY id"
    )
    assert [row["fire_time"] for row in rows] == [times[1], *times[3:]]
    assert [each["task_id"] for each in shown["times"] if not each["fired_already"]] == [
        row["id"] for row in rows
    ]
    again = (await operator.post(PATH, week)).json()
    assert (again["number"], await database.fetchval("SELECT count(*) FROM task")) == (0, 5)
    [first, second] = await database.fetch(
        "SELECT after, reason FROM audit WHERE action = 'schedule.backfilled' ORDER BY id"
    )
    assert '"submitted": 5' in first["after"]
    assert (first["reason"], second["reason"]) == ("the scheduler was away", None)


async def test_a_backfill_names_the_rule_that_its_span_breaks(
    operator: Person, guest: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfills, "MAX_TIMES", 3)
    await make(operator)
    now = datetime.now(UTC)
    later = {"from": now.isoformat(), "to": (now + timedelta(days=1)).isoformat()}
    assert broken(await operator.post(PATH, later)) == {"to": "must not be in the future"}
    assert "more than 3 times" in broken(await operator.post(PATH, span(7)))["to"]
    old = {"from": (now - timedelta(days=40)).isoformat(), "to": (now - timedelta(days=38)).isoformat()}
    assert "29 days" in broken(await operator.post(PATH, old))["from"]
    ancient = {"from": "0001-01-01T00:00:00Z", "to": now.isoformat()}
    assert "29 days" in broken(await operator.post(PATH, ancient))["from"]
    assert (await guest.post(PATH, span(2))).status_code == 403
    assert (await operator.post("schedules/none.such/backfill", span(2))).status_code == 404


async def test_a_schedule_without_overlap_is_backfilled_time_by_time(operator: Person) -> None:
    await make(operator, overlap="skip")
    refused = await operator.post(PATH, span(3))
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:often:problem:schedule-runs-alone")
    assert (await operator.post(PATH, span(1))).json()["number"] == 1
    refused = await operator.post(PATH, span(2))
    assert refused.json()["type"] == "urn:often:problem:schedule-still-running"
