"""Tests that no nominal time of a schedule is lost, and none fires twice, when schedulers are
killed.
"""

import subprocess
from datetime import datetime, timedelta
from typing import Any

from shared.schedules import statements as schedules
from tests.eventually import eventually
from tests.installed import NAMES
from tests.platform import Platform

#: Seconds within which another scheduler must take over: three times the five seconds that the
#: design promises.
TAKEOVER_LIMIT_S = 15


async def add(platform: Platform, **columns: Any) -> None:
    known = {"name": "sample", "task_name": "system.health_check", "params": "{}"}
    assert await schedules.insert(platform.database, known | columns)


async def second_from_now(platform: Platform, seconds: int = 1) -> datetime:
    """A time in the near future without fractions of a second, by the clock of the database."""
    (clock,) = await platform.rows("SELECT date_trunc('second', now()) AS now")
    moment: datetime = clock["now"] + timedelta(seconds=seconds)
    return moment


async def fired(platform: Platform) -> list[dict[str, Any]]:
    return await platform.rows("SELECT * FROM schedule_firing ORDER BY fire_time")


async def start_two(platform: Platform) -> tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]:
    """Start a scheduler that becomes the leader, and then one that stands by."""
    leader = await platform.start_scheduler()
    standby = platform.start("services.scheduler")
    await eventually(lambda: "stands by" in platform.log_of(standby))
    return leader, standby


async def test_each_second_fires_once_when_leaders_are_killed_one_after_another(
    platform: Platform,
) -> None:
    leader, standby = await start_two(platform)
    start = await second_from_now(platform)
    first = start + timedelta(seconds=1)
    await add(
        platform, kind="interval", expression="1 s", misfire="all", starts_at=start, next_fire_time=first
    )
    for _ in range(2):
        before = len(await fired(platform))

        async def goes_on(before: int = before) -> bool:
            return len(await fired(platform)) >= before + 3

        await eventually(goes_on, TAKEOVER_LIMIT_S)
        leader.kill()
        leader, standby = standby, platform.start("services.scheduler")
        killed = await second_from_now(platform)

        async def taken_over(killed: datetime = killed) -> bool:
            return bool((await fired(platform))[-1]["fire_time"] > killed)

        await eventually(taken_over, TAKEOVER_LIMIT_S)

    # Firings and tasks are read with one statement, because the scheduler may still be completing
    # its last round.
    rows = await platform.rows(
        "SELECT f.fire_time, f.outcome, f.task_id, t.id, t.fire_time AS of_task "
        "FROM schedule_firing f FULL JOIN task t ON t.schedule = f.schedule AND t.fire_time = f.fire_time "
        "WHERE coalesce(f.schedule, t.schedule) = 'sample' ORDER BY f.fire_time"
    )
    assert [row["fire_time"] for row in rows] == [first + timedelta(seconds=n) for n in range(len(rows))]
    assert {row["outcome"] for row in rows} == {"submitted"}
    assert all(row["task_id"] == row["id"] is not None for row in rows)


async def test_a_time_that_passes_without_a_leader_fires_once_under_the_next_leader(
    platform: Platform,
) -> None:
    leader, standby = await start_two(platform)
    moment = await second_from_now(platform, 2)
    await add(platform, kind="once", expression=moment.isoformat(), next_fire_time=moment)
    leader.kill()
    await platform.start_worker()

    async def ended() -> list[dict[str, Any]]:
        return await platform.rows("SELECT * FROM task WHERE schedule = 'sample' AND status = 'success'")

    (task,) = await eventually(ended, TAKEOVER_LIMIT_S)
    assert task["fire_time"] == moment
    assert task["created_at"] - moment < timedelta(seconds=TAKEOVER_LIMIT_S)
    assert [(row["fire_time"], row["outcome"]) for row in await fired(platform)] == [(moment, "submitted")]
    assert "became the leader, term 2" in platform.log_of(standby)


async def test_a_schedule_of_a_workflow_fires_once_though_leaders_are_killed(platform: Platform) -> None:
    chosen = {"OFTEN_APPLICATIONS": f"{NAMES},tests.clockwork".lstrip(",")}
    leader = await platform.start_scheduler(**chosen)
    for _ in range(2):
        standby = platform.start("services.scheduler", **chosen)
        before = len(await fired(platform))

        async def goes_on(before: int = before) -> bool:
            return len(await fired(platform)) >= before + 3

        await eventually(goes_on, TAKEOVER_LIMIT_S)
        leader.kill()
        leader = standby
    await eventually(platform.has_leader)
    killed = await second_from_now(platform)

    async def taken_over() -> bool:
        return bool((await fired(platform))[-1]["fire_time"] > killed)

    await eventually(taken_over, TAKEOVER_LIMIT_S)
    rows = await platform.rows(
        "SELECT f.fire_time, f.outcome, f.workflow_id, w.id, count(s.name) AS steps, count(t.id) AS tasks "
        "FROM schedule_firing AS f FULL JOIN workflow AS w ON w.schedule = f.schedule "
        "    AND w.fire_time = f.fire_time "
        "LEFT JOIN workflow_step AS s ON s.workflow = w.id LEFT JOIN task AS t ON t.id = s.task "
        "WHERE coalesce(f.schedule, w.schedule) = 'clockwork.tick.each_second' "
        "GROUP BY f.schedule, f.fire_time, w.id ORDER BY f.fire_time"
    )
    first = rows[0]["fire_time"]
    assert [row["fire_time"] for row in rows] == [first + timedelta(seconds=n) for n in range(len(rows))]
    assert {row["outcome"] for row in rows} == {"submitted"}
    assert all(row["workflow_id"] == row["id"] is not None for row in rows)
    assert {(row["steps"], row["tasks"]) for row in rows} == {(2, 1)}
