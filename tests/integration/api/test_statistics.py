"""Tests of the statistics for staff, which come from stored counts of ended tasks and from the
waiting tasks.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.api.tasks import statistics
from services.scheduler.statistics import Statistics
from shared.ledger import tally
from shared.ledger.database import Database
from shared.ledger.tally import Tally
from shared.roles import SCHEDULER
from shared.settings import Settings
from tests.integration.api.conftest import Person
from tests.roles import as_role

NOW = datetime.now(UTC)
CHECK = {"name": "system.health_check", "params": {}}


@pytest.fixture
async def counted(settings: Settings) -> None:
    """Store counts of ended attempts: 90 quick and ten slow successes of one kind of task, and
    others that differ in outcome, kind or day.
    """
    database = Database.for_service(settings.database_url, "test")
    await database.open(size=1)
    counts = Tally(database)
    counts.add("default", "system.check", "success", None, 1)
    await counts.run_once()
    await database.run("UPDATE task_minute SET minute = minute - interval '30 hours'")
    for number in range(100):
        counts.add("email", "email.send", "success", 0.01, 3 if number >= 90 else 0.05)
    counts.add("email", "email.send", "failure", 9, 2)
    counts.add("email", "email.send", "retry", 9, 2)
    counts.add("default", "system.check", "revoked")
    await counts.run_once()
    await database.close()


@pytest.mark.usefixtures("counted")
async def test_the_summary_of_staff_adds_what_ended_to_what_waits(
    administrator: Person, guest: Person, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await guest.post("tasks/batch", {"tasks": [CHECK] * 4 + [{**CHECK, "delay_s": 900}] * 2})
    await database.execute(
        "UPDATE task SET status = 'started', holder = $1, send_at = NULL, sent_at = NULL "
        "WHERE id = (SELECT id FROM task ORDER BY id LIMIT 1)",
        uuid4(),
    )

    async def summary() -> dict[str, Any]:
        answer = (await administrator.get("tasks/stats/summary")).json()
        assert len(answer.pop("recent_tasks")) == 5
        assert datetime.fromisoformat(answer.pop("since")) < NOW - timedelta(days=29)
        return dict(answer)

    assert await summary() == {
        "total_tasks": 109,
        "pending_tasks": 5,
        "running_tasks": 1,
        "completed_tasks": 101,
        "failed_tasks": 1,
        "revoked_tasks": 1,
        "success_rate": 99.02,
        "exact": True,
    }
    monkeypatch.setattr(statistics, "BOUND", 2)
    bounded = await summary()
    assert (bounded["pending_tasks"], bounded["exact"]) == (4, False)
    mine = (await guest.get("tasks/stats/summary")).json()
    assert (mine["total_tasks"], mine["exact"]) == (3, False)


@pytest.mark.usefixtures("counted")
async def test_kinds_have_outcomes_means_and_quantiles(administrator: Person) -> None:
    answer = (await administrator.get("tasks/stats/kinds")).json()
    check, send = answer["kinds"]
    assert (check["name"], check["queue"], check["revoked"], check["success"]) == (
        "system.check",
        "default",
        1,
        0,
    )
    assert (check["mean_run_s"], check["run_p95_s"], check["max_run_s"]) == (None, None, None)
    assert (send["type"], send["success"], send["failure"], send["retry"]) == ("email", 100, 1, 1)
    assert send["mean_run_s"] == pytest.approx((90 * 0.05 + 10 * 3 + 2 * 2) / 102)
    assert 0.02 < send["run_p50_s"] < 0.1
    assert 1 < send["run_p95_s"] <= send["max_run_s"] == 3
    assert send["wait_p50_s"] < 0.02
    assert [
        kind["success"] for kind in (await administrator.get("tasks/stats/kinds", hours=48)).json()["kinds"]
    ] == [
        1,
        100,
    ]


@pytest.mark.usefixtures("counted")
async def test_a_series_has_a_point_for_each_step_in_which_something_ended(administrator: Person) -> None:
    series = (await administrator.get("tasks/stats/series", hours=1)).json()
    asked = datetime.now(UTC)
    (point,) = series["points"]
    assert (series["step_s"], point["success"], point["failure"], point["retry"]) == (60, 100, 1, 1)
    # The present minute has not ended, so its rate is computed from the seconds that have passed.
    passed = min(60.0, max(tally.EVERY_S, (asked - datetime.fromisoformat(point["at"])).total_seconds()))
    assert point["ended_per_s"] == pytest.approx(102 / passed, rel=0.1)
    assert datetime.fromisoformat(series["since"]).second == 0
    day = (await administrator.get("tasks/stats/series", hours=48, queue="default")).json()
    assert day["step_s"] == 1800
    assert [(each["success"], each["revoked"]) for each in day["points"]] == [(1, 0), (0, 1)]
    named = await administrator.get("tasks/stats/series", hours=48, name="email.send")
    assert [each["success"] for each in named.json()["points"]] == [100]


def test_a_rate_is_that_of_the_time_that_has_passed_of_a_step() -> None:
    at = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
    row = {"at": at, "success": 60, "failure": 0, "revoked": 0, "retry": 0}
    row |= {"wait_s": None, "run_s": None, "waited": 0, "ran": 0}

    def rate(seconds: float) -> float:
        now = at + timedelta(seconds=seconds)
        return statistics._point(row, timedelta(minutes=1), now).ended_per_s

    assert [rate(seconds) for seconds in (1, 30, 60, 600)] == [12, 2, 1, 1]


def test_steps_follow_the_span_and_old_days_have_no_minutes() -> None:
    steps = {hours: statistics._step(hours) for hours in (1, 3, 4, 24, 48, 49, 180, 24 * 31, 24 * 400)}
    assert steps == {1: 1, 3: 1, 4: 5, 24: 10, 48: 30, 49: 60, 180: 60, 744: 360, 9600: 10080}


@pytest.mark.usefixtures("counted")
async def test_waits_have_waiting_tasks_by_kind_and_past_waiting_times(
    administrator: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    await administrator.post("tasks/batch", {"tasks": [CHECK] * 3 + [{**CHECK, "delay_s": 900}]})
    waits = (await administrator.get("tasks/stats/waits")).json()
    assert (waits["waiting"], waits["later"]) == (
        {"count": 3, "exact": True},
        {"count": 1, "exact": True},
    )
    assert waits["held"] == {"count": 0, "exact": True}
    (kind,) = [kind for kind in waits["kinds"] if kind["name"] == CHECK["name"]]
    assert (kind["type"], kind["waiting"], kind["later"]) == ("system", 3, 1)
    email = {queue["queue"]: queue for queue in waits["queues"]}["email"]
    assert email["started"] == 102
    assert email["wait_p50_s"] < 0.02 < email["mean_wait_s"]
    monkeypatch.setattr(statistics, "BOUND", 2)
    assert (await administrator.get("tasks/stats/waits")).json()["waiting"] == {"count": 2, "exact": False}


async def test_users_cannot_read_statistics_of_all(guest: Person) -> None:
    for name in ("series", "kinds", "waits"):
        assert (await guest.get(f"tasks/stats/{name}")).status_code == 403


async def test_each_minute_is_counted_once_before_and_after_hours_are_summed(
    administrator: Person, settings: Settings
) -> None:
    database = Database.for_service(as_role(settings.database_url, SCHEDULER), "test")
    await database.open(size=1)
    minutes = 49 * 60
    await database.run(f"""
        INSERT INTO task_minute
            (minute, queue, name, outcome, n, wait_s, run_s, max_run_s, wait_hist, run_hist)
        SELECT date_trunc('minute', now()) - make_interval(mins => m), 'q', 'a.b', 'success', 1, 1, 1, 1,
               array_fill(1::bigint, ARRAY[12]), array_fill(1::bigint, ARRAY[11])
        FROM generate_series(1, {minutes}) AS m
    """)

    async def counted() -> dict[int, int]:
        """Return how many attempts are counted over each number of hours."""
        found = {}
        for hours in (1, 2, 24, 47, 48):
            kinds = (await administrator.get("tasks/stats/kinds", hours=hours)).json()["kinds"]
            found[hours] = kinds[0]["success"]
        points = (await administrator.get("tasks/stats/series", hours=720)).json()["points"]
        return found | {720: sum(point["success"] for point in points)}

    service = Statistics(database)
    before = await counted()
    assert await service.run_once()
    between = await counted()
    while await service.run_once():
        pass
    after = await counted()
    (row,) = await database.run("SELECT count(*)::int AS hours FROM task_hour")
    await database.close()
    assert row["hours"] >= 48
    for hours, count in before.items():
        # Up to three minutes may begin during this test, and the first minute is not a whole one.
        assert min(minutes, 60 * hours) - 4 <= count <= minutes
        assert count - 3 <= between[hours] <= count
        assert count - 3 <= after[hours] <= count
