"""Whether schedules fire in time and succeed, and how many workers there are, over a real ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.leader_gauges import LeaderGauges
from services.scheduler.schedule_gauges import FIRINGS, ScheduleGauges
from services.scheduler.worker_gauges import WorkerGauges
from shared.schedules import statements as schedules
from tests.platform import Platform
from tests.sample_tasks import INSTANT, Nothing

NOW = datetime.now(UTC).replace(microsecond=0)


def told(gauges: LeaderGauges) -> dict[str, float]:
    """By name and label, without the families' prefix."""
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
    """Firings a minute apart, the oldest first, by how their tasks ended."""
    ids = await platform.submit(INSTANT, Nothing(), count=len(endings), delay=timedelta(hours=1))
    for number, (task_id, ending) in enumerate(zip(ids, endings, strict=True)):
        outcome = ending if ending in ("failed", "skipped_overlap") else "submitted"
        await platform.rows(
            "INSERT INTO schedule_firing (schedule, fire_time, task_id, outcome) VALUES ({}, {}, {}, {})",
            *(name, NOW - timedelta(minutes=len(endings) - number)),
            *(task_id if outcome == "submitted" else None, outcome),
        )
        if ending in ("success", "failure", "revoked"):
            await platform.rows(
                "UPDATE task SET status = {}, completed_at = {}, send_at = NULL WHERE id = {}",
                *(ending, NOW + timedelta(seconds=number), task_id),
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
        (("success", *["failure"] * FIRINGS), None, FIRINGS),
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
