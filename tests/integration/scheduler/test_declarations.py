"""Tests that schedules that contracts declare are stored, changed and removed from one release to
the next.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.scheduler import declarations
from shared.contracts.catalogue import Catalogue
from shared.contracts.contract import Contract
from shared.contracts.schedule import Schedule
from tests.platform import Platform
from tests.sample_tasks import Done, Nothing, Seconds


def release(*schedules: Schedule) -> Catalogue:
    """The contracts of a release: a single one, which declares these schedules."""
    return Catalogue(
        [Contract(name="sample.wait", queue="default", params=Seconds, result=Done, schedules=schedules)]
    )


def nightly(expression: str = "0 3 * * *", seconds: float = 1.5, **options: Any) -> Schedule:
    return Schedule(
        name="sample.nightly", kind="cron", expression=expression, params=Seconds(seconds=seconds), **options
    )


async def row(platform: Platform) -> dict[str, Any]:
    (row,) = await platform.rows("SELECT * FROM schedule WHERE name = 'sample.nightly'")
    return row


async def align(platform: Platform, catalogue: Catalogue) -> dict[str, Any]:
    await declarations.align(platform.database, catalogue, platform.vault)
    return await row(platform)


async def test_a_new_schedule_is_stored_and_starts_now(platform: Platform) -> None:
    stored = await align(platform, release(nightly(time_zone="Europe/Berlin", overlap="skip")))
    assert (stored["source"], stored["task_name"], stored["owner"]) == ("contract", "sample.wait", None)
    assert (stored["time_zone"], stored["overlap"], stored["params"]) == (
        "Europe/Berlin",
        "skip",
        '{"seconds": 1.5}',
    )
    ahead = stored["next_fire_time"] - datetime.now(UTC)
    assert timedelta(0) < ahead <= timedelta(hours=25)


async def test_the_same_release_changes_nothing_even_when_two_leaders_look_at_once(
    platform: Platform,
) -> None:
    catalogue = release(nightly())
    await asyncio.gather(
        *(declarations.align(platform.database, catalogue, platform.vault) for _ in range(4))
    )
    before = await row(platform)
    assert await align(platform, catalogue) == before


async def test_a_changed_declaration_is_followed(platform: Platform) -> None:
    before = await align(platform, release(nightly()))
    after = await align(platform, release(nightly("30 4 * * *", seconds=2.5)))
    assert (after["expression"], after["params"]) == ("30 4 * * *", '{"seconds": 2.5}')
    assert (after["next_fire_time"].hour, after["next_fire_time"].minute) == (4, 30)
    assert after["revision"] == before["revision"] + 1


async def test_an_operators_change_outlasts_the_next_release(platform: Platform) -> None:
    await align(platform, release(nightly()))
    await platform.rows("UPDATE schedule SET expression = '0 5 * * *', overridden_at = now()")
    after = await align(platform, release(nightly("30 4 * * *")))
    assert after["expression"] == "0 5 * * *"


async def test_a_paused_schedule_follows_its_contract_and_stays_off(platform: Platform) -> None:
    await align(platform, release(nightly()))
    await platform.rows("UPDATE schedule SET enabled = false, next_fire_time = NULL, paused_at = now()")
    after = await align(platform, release(nightly("30 4 * * *")))
    assert (after["expression"], after["enabled"], after["next_fire_time"]) == ("30 4 * * *", False, None)


async def test_a_schedule_whose_contract_is_gone_is_off_and_comes_back_with_it(platform: Platform) -> None:
    await align(platform, release(nightly()))
    gone = await align(platform, release())
    assert (gone["enabled"], gone["next_fire_time"]) == (False, None)
    back = await align(platform, release(nightly()))
    assert back["enabled"]
    # Fire times that passed while the schedule was not declared are not made up for.
    assert back["next_fire_time"] > datetime.now(UTC)


async def test_a_declaration_does_not_take_an_operators_name(platform: Platform) -> None:
    await platform.rows(
        "INSERT INTO schedule (name, task_name, params, kind, expression) "
        "VALUES ('sample.nightly', 'sample.instant', '{{}}', 'interval', '1 h')"
    )
    after = await align(platform, release(nightly()))
    assert (after["source"], after["task_name"]) == ("api", "sample.instant")


async def test_a_declaration_that_cannot_be_read_does_not_stop_the_others(platform: Platform) -> None:
    broken = Schedule(name="a.broken", kind="cron", expression="never", params=Seconds(seconds=1))
    assert (await align(platform, release(broken, nightly())))["enabled"]


def test_params_of_another_task_and_a_name_used_twice_are_refused_where_they_are_declared() -> None:
    wrong = Schedule(name="sample.nightly", kind="interval", expression="1 h", params=Nothing())
    with pytest.raises(
        ValueError, match=r"params of schedule sample\.nightly must be an instance of Seconds"
    ):
        release(wrong)
    with pytest.raises(ValueError, match=r"two schedules have the name sample\.nightly"):
        release(nightly(), nightly("0 4 * * *"))
