"""Tests the gauges that show whether schedules fire in time and succeed, and how many workers there
are, over a real ledger.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.index_cursor import IndexCursor
from services.scheduler.lane_check import LaneCheck
from services.scheduler.leader_gauges import LeaderGauges
from services.scheduler.parked_gauges import ParkedGauges
from services.scheduler.schedule_gauges import ScheduleGauges
from services.scheduler.worker_gauges import WorkerGauges
from shared.schedules import statements as schedules
from shared.schedules.firing_record import FIRINGS
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

NOW = datetime.now(UTC).replace(microsecond=0)


def told(gauges: LeaderGauges) -> dict[str, float]:
    """Gauge values by name and labels, without the common prefix `often_` of the names."""
    return {
        f"{sample.name.removeprefix('often_')}{sorted(sample.labels.values())}": sample.value
        for family in gauges.collect()
        for sample in family.samples
    }


async def add(platform: Platform, name: str, **columns: Any) -> None:
    stored = {
        "name": name,
        "task_name": "sample.instant",
        "params": "{}",
        "kind": "interval",
        "expression": "1 min",
        "next_fire_time": NOW + timedelta(days=1),
    }
    assert await schedules.insert(platform.database, stored | columns)


async def fired(platform: Platform, name: str, *endings: str) -> None:
    """Store firings of a schedule, a minute apart and oldest first.

    The task of each firing ended in the given way.
    """
    ids = await platform.submit(INSTANT, Nothing(), count=len(endings), delay=timedelta(hours=1))
    for number, (task_id, ending) in enumerate(zip(ids, endings, strict=True)):
        outcome = ending if ending in ("failed", "skipped_overlap") else "submitted"
        fire_time = NOW - timedelta(minutes=len(endings) - number)
        await platform.rows(
            "INSERT INTO schedule_firing (schedule, fire_time, task_id, outcome) VALUES ({}, {}, {}, {})",
            *(name, fire_time),
            *(task_id if outcome == "submitted" else None, outcome),
        )
        await platform.rows(
            "UPDATE task SET schedule = {}, fire_time = {} WHERE id = {}", name, fire_time, task_id
        )
        if ending in ("success", "failure", "revoked"):
            await platform.rows(
                "UPDATE task SET status = {}, error_kind = {}, completed_at = {}, send_at = NULL "
                "WHERE id = {}",
                *(ending, "bug" if ending == "failure" else None, NOW + timedelta(seconds=number), task_id),
            )


async def test_overdue_is_what_should_have_fired_by_the_clock_of_the_database(platform: Platform) -> None:
    await add(platform, "late", next_fire_time=datetime.now(UTC) - timedelta(minutes=5))
    await add(platform, "in_time")
    await add(platform, "off", next_fire_time=None, enabled=False)
    gauges = LeaderGauges(lambda: True)
    await ScheduleGauges(platform.database, gauges).run_once()
    values = told(gauges)
    assert values["schedule_overdue_seconds['late']"] == pytest.approx(300, abs=60)
    assert values["schedule_overdue_seconds['in_time']"] == 0
    assert values["schedule_next_fire_timestamp_seconds['in_time']"] == (NOW + timedelta(days=1)).timestamp()
    assert not [name for name in values if "'off'" in name]


@pytest.mark.parametrize(
    ("endings", "succeeded", "failures"),
    [
        (("success", "success"), 1, 0),
        (("success", "failure", "failure"), 0, 2),
        (("failure", "success", "failed", "skipped_overlap", "revoked", "pending"), 1, 1),
        (("success", *["failure"] * FIRINGS), 0, FIRINGS),
        (("success", "success", "revoked", *["failure"] * FIRINGS), 1, FIRINGS),
        (("failure", "revoked"), None, 1),
        (("pending",), None, 0),
    ],
)
async def test_the_last_success_and_the_failures_since(
    platform: Platform, endings: tuple[str, ...], succeeded: int | None, failures: int
) -> None:
    await add(platform, "sample")
    await fired(platform, "sample", *endings)
    gauges = LeaderGauges(lambda: True)
    await ScheduleGauges(platform.database, gauges).run_once()
    values = told(gauges)
    at = None if succeeded is None else (NOW + timedelta(seconds=succeeded)).timestamp()
    assert values.get("schedule_last_success_timestamp_seconds['sample']") == at
    assert values["schedule_failures_in_a_row['sample']"] == failures


async def test_a_workflow_that_succeeded_long_ago_is_the_last_success_of_its_schedule(
    platform: Platform,
) -> None:
    await add(platform, "sample")
    await fired(platform, "sample", "success", *["failure"] * FIRINGS)
    ended, nominal = NOW - timedelta(minutes=4), NOW - timedelta(minutes=FIRINGS, seconds=30)
    for status in ("success", "failure", "running"):
        await platform.rows(
            "INSERT INTO workflow (name, status, schedule, fire_time, completed_at) "
            "VALUES ('w', {}, {}, {}, {})",
            *(status, "sample", nominal, None if status == "running" else ended),
        )
        nominal += timedelta(seconds=1)
    gauges = LeaderGauges(lambda: True)
    await ScheduleGauges(platform.database, gauges).run_once()
    values = told(gauges)
    assert values["schedule_last_success_timestamp_seconds['sample']"] == ended.timestamp()
    first_after = NOW - timedelta(minutes=FIRINGS)
    expected = (datetime.now(UTC) - first_after).total_seconds()
    assert values["schedule_unsuccessful_seconds['sample']"] == pytest.approx(expected, abs=30)


async def test_workers_are_counted_by_state_and_dead_ones_for_a_while(platform: Platform) -> None:
    await platform.rows(
        """
        INSERT INTO worker (id, hostname, pid, queues, threads, lock_key, state, dead_at, stopped_at)
        SELECT gen_random_uuid(), 'test', n, '{{}}', 8, n, state, now() - dead, now() - stopped
        FROM (VALUES
            (1, 'running', NULL::interval, NULL::interval), (2, 'running', NULL, NULL),
            (3, 'draining', NULL, NULL), (4, 'running', '9 min', NULL), (5, 'running', '11 min', NULL),
            (6, 'draining', NULL, '1 s')
        ) AS w(n, state, dead, stopped)
        """
    )
    gauges = LeaderGauges(lambda: True)
    await WorkerGauges(platform.database, gauges).run_once()
    values = told(gauges)
    assert [values[f"workers['{state}']"] for state in ("running", "draining", "dead")] == [2, 1, 1]


async def test_a_standby_exports_only_that_it_does_not_lead(platform: Platform) -> None:
    leads = True
    gauges = LeaderGauges(lambda: leads)
    await WorkerGauges(platform.database, gauges).run_once()
    assert told(gauges)["workers['running']"] == 0
    leads = False
    assert told(gauges) == {"scheduler_leader[]": 0}
    leads = True
    gauges.forget()
    assert told(gauges) == {"scheduler_leader[]": 1}


async def test_a_schedule_that_only_skips_is_without_success_since_its_first_skip(platform: Platform) -> None:
    await add(platform, "skips", catch_up_s=30, starts_at=NOW)
    await fired(platform, "skips", "success", "skipped_overlap", "skipped_overlap")
    await add(platform, "works", catch_up_s=30)
    await fired(platform, "works", "success", "success")
    gauges = LeaderGauges(lambda: True)
    await ScheduleGauges(platform.database, gauges).run_once()
    values = told(gauges)
    first_skip = NOW - timedelta(minutes=2)
    expected = (datetime.now(UTC) - first_skip).total_seconds()
    assert values["schedule_unsuccessful_seconds['skips']"] == pytest.approx(expected, abs=30)
    assert values["schedule_unsuccessful_seconds['works']"] == 0
    assert values["schedule_unsuccessful_limit_seconds['skips']"] == 60 + 30


async def test_parked_tasks_are_counted_by_task_while_they_wait_and_while_they_are_in_a_lane(
    platform: Platform,
) -> None:
    reason = "no worker knows sample.instant version 2 yet"
    later, in_lane, other = await platform.submit(INSTANT, Nothing(), count=3, delay=timedelta(seconds=10))
    await platform.rows("UPDATE task SET wait_reason = {} WHERE id IN ({}, {})", reason, later, in_lane)
    await platform.rows("UPDATE task SET send_at = NULL, sent_at = now() WHERE id = {}", in_lane)
    await platform.rows("UPDATE task SET wait_reason = 'its worker stopped' WHERE id = {}", other)
    lanes = LaneCheck(platform.database, platform.queues, ["default"])
    await lanes.run_once()
    gauges = LeaderGauges(lambda: True)
    await ParkedGauges(platform.database, gauges, IndexCursor(), lanes).run_once()
    assert told(gauges)["tasks_parked['sample.instant']"] == 2
