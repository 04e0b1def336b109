"""Tests of schedules that start workflows, over a real ledger."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.scheduler import declarations
from services.scheduler.timetable import Timetable
from shared.contracts.catalogue import Catalogue
from shared.errors import InvalidFields
from shared.schedules import statements as schedules
from shared.workflows import scheduled
from shared.workflows.scheduled import Schedules, WorkflowSchedule
from shared.workflows.workflow import Workflow
from tests.canceled_statements import canceled
from tests.clockwork.application import APPLICATION
from tests.clockwork.workflows.ticks import EACH_SECOND, tick
from tests.explain import explain
from tests.integration.scheduler.test_timetable import add, firings, move, outcomes, run, schedule
from tests.platform import Platform


def hourly(**options: Any) -> Schedules:
    declared = WorkflowSchedule(
        name="sample", kind="interval", expression="1 min", **{"build": tick, **options}
    )
    return {"sample": declared}


def unique_tick() -> Workflow:
    flow = tick()
    flow.unique = "one"
    return flow


def timetable(platform: Platform, workflows: Schedules) -> Timetable:
    service = Timetable(platform.database, platform.submitter, platform.vault, Catalogue([]), workflows)
    service.restart()
    return service


async def due(platform: Platform, service: Timetable, *, late_s: float = 0.5) -> datetime:
    """Store the declared schedule and make it due. Returns its nominal fire time."""
    await run(service)
    (clock,) = await platform.rows("SELECT now() - make_interval(secs => {}::float8) AS first", float(late_s))
    first: datetime = clock["first"].replace(microsecond=0)
    await move(platform, first)
    return first


async def workflows(platform: Platform) -> list[dict[str, Any]]:
    return await platform.rows("SELECT * FROM workflow WHERE schedule = 'sample' ORDER BY fire_time")


async def test_what_is_due_begins_a_workflow_whose_first_task_is_pushed(platform: Platform) -> None:
    service = timetable(platform, hourly(priority=3))
    first = await due(platform, service)
    await run(service)
    (flow,) = await workflows(platform)
    assert (flow["fire_time"], flow["name"], flow["status"]) == (first, "tick", "running")
    (firing,) = await firings(platform)
    assert (firing["workflow_id"], firing["task_id"], firing["outcome"]) == (flow["id"], None, "submitted")
    (task,) = await platform.rows("SELECT * FROM task WHERE workflow = {}", flow["id"])
    assert (task["step"], task["priority"]) == ("first", 3)
    assert await platform.queues.head("default", 3, 2) == [task["id"]]
    row = await schedule(platform)
    assert (row["task_name"], row["workflow"], row["params"]) == (None, "tick", "{}")
    assert (row["last_fire_time"], row["next_fire_time"]) == (first, first + timedelta(minutes=1))

    # Fire the same nominal time again, as a scheduler would that does not know that another one
    # leads now.
    await platform.rows("UPDATE schedule SET next_fire_time = {}", first)
    await run(service)
    assert len(await workflows(platform)) == 1


async def test_missed_times_and_overlap_are_those_of_tasks(platform: Platform) -> None:
    service = timetable(platform, hourly(misfire="all"))
    await due(platform, service, late_s=190)
    await run(service)
    assert len(await workflows(platform)) == 4

    skipping = timetable(platform, hourly(misfire="all", overlap="skip"))
    later = await due(platform, skipping)
    await run(skipping)
    (left_out,) = [row for row in await firings(platform) if row["fire_time"] == later]
    assert left_out["outcome"] == "skipped_overlap"
    assert left_out["detail"].startswith("workflow ")

    await platform.rows("UPDATE workflow SET status = 'success', completed_at = now()")
    again = later - timedelta(seconds=1)
    await move(platform, again)
    await run(skipping)
    assert again in [row["fire_time"] for row in await workflows(platform)]


async def test_a_missed_time_whose_unique_key_an_earlier_one_holds_fails_alone(
    platform: Platform, caplog: pytest.LogCaptureFixture
) -> None:
    service = timetable(platform, hourly(misfire="all", build=unique_tick))
    first = await due(platform, service, late_s=130)
    await run(service)
    (flow,) = await workflows(platform)
    assert flow["fire_time"] == first
    submitted, *failed = await firings(platform)
    assert (submitted["outcome"], submitted["workflow_id"]) == ("submitted", flow["id"])
    assert outcomes(failed) == ["failed", "failed"]
    assert all(f"has the key 'one' ({flow['id']})" in row["detail"] for row in failed)
    row = await schedule(platform)
    assert (row["last_fire_time"], row["next_fire_time"]) == (first, first + timedelta(minutes=3))
    assert not any(record.exc_info for record in caplog.records)


async def test_jitter_delays_the_first_tasks_and_not_the_nominal_time(platform: Platform) -> None:
    service = timetable(platform, hourly(jitter_s=50.0))
    first = await due(platform, service)
    await run(service)
    ((flow,),) = [await workflows(platform)]
    (task,) = await platform.rows("SELECT send_at FROM task WHERE workflow = {}", flow["id"])
    assert flow["fire_time"] == first
    assert timedelta(0) <= task["send_at"] - first < timedelta(seconds=51)


async def test_a_workflow_that_code_no_longer_declares_is_not_begun(platform: Platform) -> None:
    await due(platform, timetable(platform, hourly()))
    await run(timetable(platform, {}))
    row = await schedule(platform)
    assert (row["enabled"], row["next_fire_time"]) == (False, None)

    # Enable the schedule again, as if a leader of an older release were still firing it.
    await platform.rows("UPDATE schedule SET enabled = true")
    (clock,) = await platform.rows("SELECT date_trunc('second', now()) AS now")
    await move(platform, clock["now"])
    older = Timetable(platform.database, platform.submitter, platform.vault, Catalogue([]), {})
    older._aligned = True
    await run(older)
    (firing,) = await firings(platform)
    assert outcomes([firing]) == ["failed"]
    assert "no code declares the schedule sample" in firing["detail"]


async def test_a_declaration_that_changes_is_followed(platform: Platform) -> None:
    for time_zone in ("UTC", "Asia/Kolkata"):
        declared = hourly(time_zone=time_zone)
        await declarations.align(platform.database, Catalogue([]), platform.vault, declared)
    row = await schedule(platform)
    assert (row["time_zone"], row["revision"]) == ("Asia/Kolkata", 1)


async def test_a_declaration_that_cannot_be_stored_now_is_followed_later_and_does_not_stop_the_others(
    platform: Platform,
) -> None:
    await run(timetable(platform, hourly()))
    service = timetable(platform, hourly(time_zone="Asia/Kolkata"))
    await add(platform, "other")
    async with canceled(platform, "UPDATE ON schedule", "NEW.name = 'sample'"):
        await run(service)
    assert await firings(platform, "other")
    assert (await schedule(platform))["time_zone"] == "UTC"
    await run(service)
    assert (await schedule(platform))["time_zone"] == "Asia/Kolkata"


async def test_the_search_for_an_unfinished_workflow_reads_its_own_index(platform: Platform) -> None:
    await platform.rows(
        "INSERT INTO workflow (name, status, schedule) SELECT 'w', 'running', 's' || n "
        "FROM generate_series(1, 2000) AS n"
    )
    await platform.rows("ANALYZE workflow")
    plan = await platform.rows(explain(schedules.UNFINISHED_WORKFLOW), schedule="s7")
    assert any("workflow_schedule" in row["QUERY PLAN"] for row in plan), plan


def test_declarations_are_found_and_checked_when_a_process_starts() -> None:
    assert scheduled.load([APPLICATION], Catalogue([])) == {EACH_SECOND.name: EACH_SECOND}
    with pytest.raises(InvalidFields, match="steps: must be 1 to"):
        WorkflowSchedule(
            name="empty", kind="interval", expression="1 h", build=lambda: Workflow("empty")
        ).graph(None, timedelta(0))


def test_a_name_that_two_declared_schedules_have_is_refused_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    twice = [replace(EACH_SECOND), replace(EACH_SECOND)]
    monkeypatch.setattr(scheduled, "_declared", lambda applications: iter(twice))
    with pytest.raises(ValueError, match=rf"the name {EACH_SECOND.name}: rename one of them"):
        scheduled.load([], Catalogue([]))


def test_a_declared_workflow_that_breaks_a_rule_is_refused_with_the_name_of_its_schedule(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = replace(EACH_SECOND, build=lambda: Workflow("empty"))
    monkeypatch.setattr(scheduled, "_declared", lambda applications: iter([broken]))
    rule = rf"the workflow that the schedule {EACH_SECOND.name} builds breaks a rule: steps: must be 1 to"
    with pytest.raises(ValueError, match=rule):
        scheduled.load([], Catalogue([]))
