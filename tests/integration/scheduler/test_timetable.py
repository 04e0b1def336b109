"""Tests of the leader's timetable, which fires schedules, over a real ledger."""

import asyncio
import contextvars
import dataclasses
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.scheduler.timetable import Timetable
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.errors import ServerRefuses
from shared.schedules import statements as schedules
from tests.canceled_statements import canceled
from tests.explain import explain
from tests.platform import Platform
from tests.sample_tasks import GROWN, PAY, TASKS, Paid, Pay, Seconds

CATALOGUE = Catalogue([task.contract for task in TASKS.values()])


def timetable(platform: Platform, catalogue: Catalogue = CATALOGUE) -> Timetable:
    """A leader's timetable. By default, no contract declares a schedule."""
    service = Timetable(platform.database, platform.submitter, platform.vault, catalogue)
    service.restart()
    return service


async def run(service: Timetable) -> None:
    """Run one round of the timetable in a new `contextvars` context, as the scheduler
    process does.
    """
    await asyncio.create_task(service.run_once(), context=contextvars.Context())


async def add(platform: Platform, name: str = "sample", *, late_s: float = 0.5, **columns: Any) -> datetime:
    """Store a schedule that fires each minute, and whose next nominal fire time passed `late_s`
    seconds ago.

    Returns that time.
    """
    (clock,) = await platform.rows("SELECT now() - make_interval(secs => {}::float8) AS first", float(late_s))
    first: datetime = clock["first"]
    stored = {
        "name": name,
        "task_name": "sample.instant",
        "params": "{}",
        "kind": "interval",
        "expression": "1 min",
        "starts_at": first.replace(microsecond=0) - timedelta(hours=5),
        "next_fire_time": first.replace(microsecond=0),
    }
    assert await schedules.insert(platform.database, stored | columns)
    return first.replace(microsecond=0)


async def move(platform: Platform, moment: datetime) -> None:
    """Set the next nominal time of all schedules to this moment."""
    await platform.rows(
        "UPDATE schedule SET starts_at = {}, next_fire_time = {}", moment - timedelta(minutes=1), moment
    )


async def firings(platform: Platform, name: str = "sample") -> list[dict[str, Any]]:
    return await platform.rows(
        "SELECT * FROM schedule_firing WHERE schedule = {} ORDER BY fire_time, outcome", name
    )


async def tasks(platform: Platform, name: str = "sample") -> list[dict[str, Any]]:
    return await platform.rows("SELECT * FROM task WHERE schedule = {} ORDER BY fire_time", name)


async def schedule(platform: Platform, name: str = "sample") -> dict[str, Any]:
    (row,) = await platform.rows("SELECT * FROM schedule WHERE name = {}", name)
    return row


def outcomes(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [row["outcome"] for row in rows]


def counted(outcome: str, name: str) -> float:
    labels = {"schedule": name, "outcome": outcome}
    return REGISTRY.get_sample_value("often_schedule_fired_total", labels) or 0


async def test_a_due_time_becomes_a_task_with_its_nominal_time_and_its_id_is_pushed(
    platform: Platform,
) -> None:
    first = await add(platform, owner=7, priority=3)
    before = counted("submitted", "sample")
    await run(timetable(platform))
    (task,) = await tasks(platform)
    assert (task["fire_time"], task["owner"], task["priority"]) == (first, 7, 3)
    (firing,) = await firings(platform)
    assert (firing["fire_time"], firing["task_id"], firing["outcome"]) == (first, task["id"], "submitted")
    row = await schedule(platform)
    assert (row["last_fire_time"], row["next_fire_time"]) == (first, first + timedelta(minutes=1))
    assert await platform.queues.head("default", 3, 2) == [task["id"]]
    assert counted("submitted", "sample") == before + 1


async def test_schedules_that_are_off_or_not_due_do_not_fire(platform: Platform) -> None:
    await add(platform, "later", late_s=-30)
    await add(platform, "off", enabled=False, next_fire_time=None)
    await run(timetable(platform))
    assert not await platform.rows("SELECT 1 FROM task")
    assert not await platform.rows("SELECT 1 FROM schedule_firing")


async def test_two_leaders_at_once_fire_each_time_once(platform: Platform) -> None:
    names = [f"sample.{n}" for n in range(20)]
    for name in names:
        await add(platform, name, late_s=50, expression="1 s", misfire="all")
    leaders = [timetable(platform), timetable(platform)]

    async def lead(service: Timetable) -> None:
        for _ in range(8):
            await run(service)

    await asyncio.gather(*(lead(service) for service in leaders))

    for name in names:
        fired = await firings(platform, name)
        times = [row["fire_time"] for row in fired]
        assert times == [times[0] + timedelta(seconds=n) for n in range(len(times))]
        assert len(times) >= 50
        submitted = await tasks(platform, name)
        assert [(row["fire_time"], row["id"]) for row in submitted] == [
            (row["fire_time"], row["task_id"]) for row in fired
        ]


async def test_a_nominal_time_that_was_recorded_fires_no_second_time(platform: Platform) -> None:
    first = await add(platform)
    await run(timetable(platform))
    await platform.rows("UPDATE schedule SET next_fire_time = {} WHERE name = 'sample'", first)
    await run(timetable(platform))
    assert len(await tasks(platform)) == 1
    assert outcomes(await firings(platform)) == ["submitted"]


@pytest.mark.parametrize(
    ("columns", "fired", "others"),
    [
        ({"misfire": "skip"}, [10], ["skipped_misfire"]),
        ({"misfire": "skip", "misfire_grace_s": 10.0}, [], ["skipped_misfire"]),
        ({"misfire": "once"}, [10], ["skipped_misfire"]),
        ({"misfire": "all"}, list(range(11)), []),
        ({"misfire": "all", "catch_up_s": 230.0}, [7, 8, 9, 10], ["skipped_misfire"]),
    ],
)
async def test_missed_times_follow_the_policy_and_what_is_given_up_is_recorded(
    platform: Platform, columns: dict[str, Any], fired: list[int], others: list[str]
) -> None:
    first = await add(platform, late_s=620, **columns)
    await run(timetable(platform))
    assert [(row["fire_time"] - first) / timedelta(minutes=1) for row in await tasks(platform)] == fired
    recorded = [row for row in await firings(platform) if row["outcome"] != "submitted"]
    assert outcomes(recorded) == others
    assert all(row["fire_time"] == first and "missed from" in row["detail"] for row in recorded)
    assert (await schedule(platform))["next_fire_time"] == first + timedelta(minutes=11)


async def test_while_an_earlier_task_is_not_final_a_firing_is_left_out(platform: Platform) -> None:
    first = await add(platform, late_s=130, overlap="skip", misfire="all")
    service = timetable(platform)
    await run(service)
    assert outcomes(await firings(platform)) == ["submitted", "skipped_overlap", "skipped_overlap"]
    (task,) = await tasks(platform)
    assert task["fire_time"] == first

    later = first + timedelta(minutes=2, seconds=5)
    await move(platform, later)
    await run(service)
    assert [row["detail"] for row in await firings(platform) if row["fire_time"] == later] == [
        f"task {task['id']} of an earlier nominal time has not ended"
    ]

    await platform.rows(
        "UPDATE task SET status = 'success', completed_at = now(), send_at = NULL, sent_at = NULL"
    )
    again = later + timedelta(seconds=1)
    await move(platform, again)
    await run(service)
    assert [row["fire_time"] for row in await tasks(platform)] == [first, again]


async def test_the_search_for_an_unfinished_task_reads_its_own_index(platform: Platform) -> None:
    await platform.rows(
        "INSERT INTO task (name, type, queue, params, send_at, schedule) "
        "SELECT 'a.b', 'a', 'q', '{{}}', now(), 's' || n FROM generate_series(1, 2000) AS n"
    )
    await platform.rows("ANALYZE task")
    plan = await platform.rows(explain(schedules.UNFINISHED), schedule="s7")
    assert any("task" in row["QUERY PLAN"] and "schedule_idx" in row["QUERY PLAN"] for row in plan), plan


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"task_name": "sample.gone"}, "unknown task 'sample.gone'"),
        ({"task_name": "sample.wait", "params": '{"seconds": "soon"}'}, "params.seconds"),
        (
            {"task_name": "sample.wait", "params": '{"seconds": 1, "old": 2}'},
            "params.old: is not a known field",
        ),
    ],
)
async def test_a_contract_that_refuses_is_recorded_and_the_schedule_goes_on(
    platform: Platform, columns: dict[str, Any], reason: str
) -> None:
    first = await add(platform, **columns)
    await run(timetable(platform))
    (firing,) = await firings(platform)
    assert (firing["outcome"], firing["task_id"], firing["fire_time"]) == ("failed", None, first)
    assert reason in firing["detail"]
    row = await schedule(platform)
    assert (row["enabled"], row["next_fire_time"]) == (True, first + timedelta(minutes=1))


async def test_a_schedule_stored_under_a_former_name_submits_the_task_under_its_present_name(
    platform: Platform,
) -> None:
    await add(platform, task_name="sample.nap", params='{"seconds": 5}')
    await run(timetable(platform))
    (firing,) = await firings(platform)
    assert (firing["outcome"], firing["detail"]) == ("submitted", None)
    (task,) = await tasks(platform)
    assert (task["name"], task["queue"], task["contract_version"]) == ("sample.grown", "default", 3)
    assert platform.vault.open_params(GROWN, task["params"], task["id"], None)[0] == Seconds(seconds=5)


async def test_a_schedule_whose_submission_breaks_does_not_stop_the_others(platform: Platform) -> None:
    await platform.rows(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'no room for this one'; END $$
        """
    )
    await platform.rows(
        "CREATE TRIGGER refuse BEFORE INSERT ON task FOR EACH ROW WHEN (NEW.schedule = 'broken') "
        "EXECUTE FUNCTION refuse()"
    )
    first = await add(platform, "broken", late_s=5)
    await add(platform, "sound", late_s=1)
    await run(timetable(platform))
    (failed,) = await firings(platform, "broken")
    assert (failed["outcome"], failed["fire_time"]) == ("failed", first)
    assert "no room for this one" in failed["detail"]
    assert (await schedule(platform, "broken"))["next_fire_time"] == first + timedelta(minutes=1)
    assert len(await tasks(platform, "sound")) == 1


async def test_a_schedule_whose_statement_is_canceled_is_kept_and_does_not_stop_the_others(
    platform: Platform,
) -> None:
    first = await add(platform, "slow", late_s=5)
    await add(platform, "sound", late_s=1)
    service = timetable(platform)
    async with canceled(platform, "INSERT ON task", "NEW.schedule = 'slow'"):
        with pytest.raises(ServerRefuses, match="statement timeout"):
            await run(service)
    assert len(await tasks(platform, "sound")) == 1
    assert not await firings(platform, "slow")
    await run(service)
    assert [row["fire_time"] for row in await tasks(platform, "slow")] == [first]


async def test_a_timing_that_cannot_be_read_any_more_is_recorded_and_off(platform: Platform) -> None:
    await add(platform, kind="cron", expression="* * * * *", time_zone="Mars/Olympus")
    service = timetable(platform)
    await run(service)
    await run(service)
    (firing,) = await firings(platform)
    assert firing["outcome"] == "failed"
    assert "time_zone" in firing["detail"]
    row = await schedule(platform)
    assert (row["enabled"], row["next_fire_time"]) == (False, None)


async def test_jitter_moves_the_sending_and_not_the_nominal_time(platform: Platform) -> None:
    first = await add(platform, jitter_s=50.0, expression="1 min")
    await run(timetable(platform))
    (task,) = await tasks(platform)
    assert task["fire_time"] == first
    assert timedelta(0) < task["send_at"] - first < timedelta(seconds=50)
    assert (await schedule(platform))["next_fire_time"] == first + timedelta(minutes=1)


async def test_a_single_moment_fires_once_and_never_again(platform: Platform) -> None:
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=2)
    await add(platform, kind="once", expression=moment.isoformat(), next_fire_time=moment)
    service = timetable(platform)
    await run(service)
    await run(service)
    assert [row["fire_time"] for row in await tasks(platform)] == [moment]
    assert (await schedule(platform))["next_fire_time"] is None


async def test_times_while_a_schedule_waits_longer_than_its_window_are_given_up(platform: Platform) -> None:
    first = await add(platform, late_s=4 * 3_600, kind="cron", expression="0 0 1 1 *", catch_up_s=3_600.0)
    await run(timetable(platform))
    assert outcomes(await firings(platform)) == ["skipped_misfire"]
    assert (await firings(platform))[0]["fire_time"] == first


@pytest.mark.parametrize(
    "stored_as", [PAY, dataclasses.replace(PAY, name="sample.charge")], ids=["now", "formerly"]
)
async def test_sensitive_parameters_stay_sealed_from_the_schedule_to_the_task(
    platform: Platform, stored_as: Contract[Pay, Paid]
) -> None:
    params = Pay(card="4111 1111 1111 1111")
    sealed = platform.vault.seal_params(stored_as, params, "sample", None)
    await add(platform, task_name=stored_as.name, params=sealed.text)
    today = dataclasses.replace(PAY, former_names=("sample.charge",))
    await run(timetable(platform, Catalogue([today])))
    (task,) = await tasks(platform)
    for row, bound_to in ((task, task["id"]), (await schedule(platform), "sample")):
        assert "4111" not in row["params"]
        assert platform.vault.open_params(today, row["params"], bound_to, None)[0] == params
    # The schedule's sensitive parameters are encrypted again for the task, under the task's present
    # name.
    assert platform.vault.open_params(PAY, task["params"], task["id"], None)[0] == params
